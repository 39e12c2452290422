"""What follows when a claim is not renewed, per channel."""

from __future__ import annotations

from dataclasses import dataclass

from .options import options

#: Seconds between two renewals of a lease, at least and at most.
_SHORTEST_BEAT = 0.5
_LONGEST_BEAT = 10.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How long an unrenewed claim stands (``lease``, seconds), and what then: recover or drop."""

    lease: float
    action: str

    @property
    def beat(self) -> float:
        """Seconds between two renewals: three to a lease, unless it is very short or long."""
        return max(_SHORTEST_BEAT, min(self.lease / 3, _LONGEST_BEAT))


def policy_of(channel: str) -> Policy:
    """The policy of ``channel``, the general settings where it has none of its own."""
    own = options.simq_running_timeout_handler_policies.get(channel, {})
    return Policy(
        lease=own.get("running_timeout", options.simq_running_timeout),
        action=own.get("action", options.simq_default_running_timeout_action),
    )
