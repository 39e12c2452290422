"""Settings: each can be used as it is, and beside the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register

from ..conf.leases import Policy, policy_of
from ..conf.options import Option, Options, all_options, options
from ..exceptions import InvalidSetting
from ..queue import parse

_LEASE = Options.simq_running_timeout.name
_GRACE = Options.shutdown_grace.name
_EXPIRY = Options.simq_worker_status_expire.name

#: The check id of each setting, in the order of the documentation.
SETTING_IDS = {
    option.name: f"django_simpletask3.E{number:03}"
    for number, option in enumerate(all_options(), start=1)
}
URL_ID = "django_simpletask3.E101"
LEASE_ID = "django_simpletask3.E108"
GRACE_ID = "django_simpletask3.E109"
REPORT_ID = "django_simpletask3.E110"


@register(Tags.compatibility)
def check_settings(**_: Any) -> list[CheckMessage]:
    """Every setting can be used as it is, and beside the others."""
    messages = [message for option in all_options() for message in _option(option)]
    return messages or [*_contradictions()]


def _option(option: Option[Any]) -> Iterator[CheckMessage]:
    try:
        value = option.value()
    except InvalidSetting as error:
        yield Error(str(error), hint=option.hint, id=SETTING_IDS[option.name])
        return
    if option is type(options).simq_redis_url:
        try:
            parse(value)
        except InvalidSetting as error:
            yield Error(str(error), hint=option.hint, id=URL_ID)


def _contradictions() -> Iterator[CheckMessage]:
    policies = options.simq_running_timeout_handler_policies
    leases = {_LEASE: policy_of("")}
    leases |= {
        f"The running_timeout of {channel!r} in {_LEASE}_HANDLER_POLICIES": policy_of(channel)
        for channel, policy in policies.items()
        if "running_timeout" in policy
    }
    for name, policy in leases.items():
        yield from _lease(name, policy)
    longest = max(policy.renewal_interval for policy in leases.values())
    if options.simq_worker_status_expire < 2 * longest:
        yield Error(
            f"{_EXPIRY} is {options.simq_worker_status_expire} s, but workers report every "
            f"{longest:g} s: between two reports they would look dead.",
            hint=f"Set {_EXPIRY} to {2 * longest:g} or more.",
            id=REPORT_ID,
        )


def _lease(name: str, policy: Policy) -> Iterator[CheckMessage]:
    grace = options.shutdown_grace
    if policy.lease < 2 * policy.renewal_interval:
        yield Error(
            f"{name} is {policy.lease:g} s: shorter than two beats of "
            f"{policy.renewal_interval:g} s, by which a healthy worker renews it.",
            hint=f"Set it to {2 * policy.renewal_interval:g} or more; minutes are usual.",
            id=LEASE_ID,
        )
    elif grace > policy.lease:
        yield Error(
            f"{_GRACE} is {grace:g} s, longer than the lease: {name} is {policy.lease:g} s.",
            hint=f"Set {_GRACE} to {policy.lease:g} or less, or the lease to {grace:g} or more.",
            id=GRACE_ID,
        )
