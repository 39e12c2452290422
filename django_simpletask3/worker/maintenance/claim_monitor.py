"""Return expired claims to their queues, and know when the next claim can expire."""

from __future__ import annotations

from ...conf.options import options
from ...queue import GRACE_SECONDS, get_queue
from ...recovery import service
from ..pipeline import MESSAGE_LEASE

_MAX_DELAY = 5.0  # seconds by which an expired claim may be found late


class ClaimMonitor:
    """Returns messages whose claims have expired, and tells when to look again."""

    def __init__(self) -> None:
        self._idle_seconds = 0.0

    def check(self) -> int:
        """Return expired claims to their queues; the number of messages."""
        seconds = get_queue().seconds_to_next_expiry()
        # A claim made after this check lasts at least as long as the shortest lease.
        self._idle_seconds = min(seconds, _shortest_lease()) + _MAX_DELAY if seconds > 0 else 0.0
        return 0 if seconds > 0 else service.requeue_expired_claims()

    def idle_for(self) -> float:
        """Seconds until the next check is needed."""
        return self._idle_seconds


def _shortest_lease() -> float:
    """The shortest lease of any claim on this node in seconds, blocking waits included."""
    policies = options.simq_running_timeout_handler_policies.values()
    leases = [float(p["running_timeout"]) for p in policies if "running_timeout" in p]
    return min(GRACE_SECONDS, MESSAGE_LEASE, options.simq_running_timeout, *leases)
