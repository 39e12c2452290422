"""Checks of the settings, each by itself and together with the others."""

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
SETTING_IDS = {o.name: f"django_simpletask3.E{n:03}" for n, o in enumerate(all_options(), start=1)}
URL_ID = "django_simpletask3.E101"
LEASE_ID = "django_simpletask3.E108"
GRACE_ID = "django_simpletask3.E109"
REPORT_ID = "django_simpletask3.E110"


@register(Tags.compatibility)
def check_settings(**_: object) -> list[CheckMessage]:
    """Check that each setting is valid and that none contradicts another."""
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
            hint = f"Set {option.name} to a URL such as {option.default!r}."
            yield Error(str(error), hint=hint, id=URL_ID)


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
            f"{longest:g} s: between two reports they would count as dead.",
            hint=f"Set {_EXPIRY} to at least {2 * longest:g}.",
            id=REPORT_ID,
        )


def _lease(name: str, policy: Policy) -> Iterator[CheckMessage]:
    grace = options.shutdown_grace
    if policy.lease < 2 * policy.renewal_interval:
        yield Error(
            f"{name} is {policy.lease:g} s: shorter than two renewal intervals of "
            f"{policy.renewal_interval:g} s, so that a healthy worker could lose its lease.",
            hint=f"Set it to at least {2 * policy.renewal_interval:g}; minutes are usual.",
            id=LEASE_ID,
        )
    elif grace > policy.lease:
        yield Error(
            f"{_GRACE} is {grace:g} s, longer than the lease: {name} is {policy.lease:g} s.",
            hint=f"Set {_GRACE} to at most {policy.lease:g}, or the lease to at least {grace:g}.",
            id=GRACE_ID,
        )
