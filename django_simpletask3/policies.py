"""What follows when a claim is not renewed, per channel."""

from __future__ import annotations

from dataclasses import dataclass

from .conf import options


@dataclass(frozen=True, slots=True)
class Policy:
    """How long an unrenewed claim stands (``lease``, seconds), and what then: recover or drop."""

    lease: float
    action: str


def policy_of(channel: str) -> Policy:
    """The policy of ``channel``, the general settings where it has none of its own."""
    own = options.simq_running_timeout_handler_policies.get(channel, {})
    return Policy(
        lease=own.get("running_timeout", options.simq_running_timeout),
        action=own.get("action", options.simq_default_running_timeout_action),
    )
