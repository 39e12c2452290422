"""The lease and the action at its end, per channel."""

from __future__ import annotations

from dataclasses import dataclass

from .options import options

#: Seconds between two renewals of a lease, at least and at most.
_MIN_RENEWAL_INTERVAL = 0.5
_MAX_RENEWAL_INTERVAL = 10.0


@dataclass(frozen=True, slots=True)
class Policy:
    """The ``lease`` of a claim, in seconds, and the ``action`` when it ends: recover or drop."""

    lease: float
    action: str

    @property
    def renewal_interval(self) -> float:
        """Seconds between two renewals: a third of the lease, from 0.5 to 10 seconds."""
        return max(_MIN_RENEWAL_INTERVAL, min(self.lease / 3, _MAX_RENEWAL_INTERVAL))


def policy_of(channel: str) -> Policy:
    """The policy of ``channel``; the general settings where it has none of its own."""
    own = options.simq_running_timeout_handler_policies.get(channel, {})
    return Policy(
        lease=own.get("running_timeout", options.simq_running_timeout),
        action=own.get("action", options.simq_default_running_timeout_action),
    )


def longest_policy() -> Policy:
    """The policy with the longest lease of all channels."""
    channels = options.simq_running_timeout_handler_policies
    return max(map(policy_of, ("", *channels)), key=lambda policy: policy.lease)
