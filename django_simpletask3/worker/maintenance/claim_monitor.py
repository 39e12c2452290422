"""Claims in Redis that nobody renews, and when the next of them may have ended."""

from __future__ import annotations

from ...conf.options import options
from ...queue import GRACE_SECONDS, get_queue
from ...recovery import service
from ..pipeline import MESSAGE_LEASE

_MAX_DELAY = 5.0  # seconds by which the end of a claim may be noticed too late


class ClaimMonitor:
    """Returns messages whose claims have ended, and knows when the next may have."""

    def __init__(self) -> None:
        self._calm = 0.0

    def check(self) -> int:
        """Return what is due to its queue; the number of messages."""
        rest = get_queue().seconds_to_next_expiry()
        # What is claimed after this look does not end before the shortest claim does.
        self._calm = min(rest, _shortest_lease()) + _MAX_DELAY if rest > 0 else 0.0
        return 0 if rest > 0 else service.requeue_expired_claims()

    def idle_for(self) -> float:
        """The seconds until a claim that nobody has renewed was over for too long."""
        return self._calm


def _shortest_lease() -> float:
    """The shortest time in seconds for which anything is claimed here, a wait among them."""
    own = options.simq_running_timeout_handler_policies.values()
    leases = [float(one["running_timeout"]) for one in own if "running_timeout" in one]
    return min(GRACE_SECONDS, MESSAGE_LEASE, options.simq_running_timeout, *leases)
