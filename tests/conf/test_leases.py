"""What follows a lost claim, per channel."""

from typing import Any

import pytest

from django_simpletask3.conf.leases import Policy, policy_of

OWN = {
    "both": {"running_timeout": 10, "action": "drop"},
    "lease": {"running_timeout": 20},
    "action": {"action": "drop"},
    "neither": {},
}


@pytest.mark.parametrize(
    ("channel", "policy"),
    [
        ("both", Policy(10.0, "drop")),
        ("lease", Policy(20.0, "recover")),
        ("action", Policy(300.0, "drop")),
        ("neither", Policy(300.0, "recover")),
        ("unknown", Policy(300.0, "recover")),
    ],
)
def test_a_channel_has_the_general_policy_where_it_has_none_of_its_own(
    channel: str, policy: Policy, settings: Any
) -> None:
    settings.SIMQ_RUNNING_TIMEOUT_HANDLER_POLICIES = OWN

    assert policy_of(channel) == policy


def test_the_general_policy_is_read_when_it_is_asked_for(settings: Any) -> None:
    settings.SIMQ_RUNNING_TIMEOUT = "7"
    settings.SIMQ_DEFAULT_RUNNING_TIMEOUT_ACTION = "drop"

    assert policy_of("any") == Policy(7.0, "drop")
