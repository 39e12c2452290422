"""The thread that claims messages of one model and starts their tasks."""

from __future__ import annotations

import time

from ..conf import options
from ..exceptions import QueueUnavailable
from ..execution import give_back, start
from ..queue import get_queue
from .lane import Lane
from .leases import Leases
from .stopping import Stopping

_LOOK_UP = 0.2  # seconds after which a full lane looks whether to stop
_BURST_REST = 0.05


class Fetcher:
    """One step claims what the lane has room for; see Loop for the rest."""

    def __init__(self, lane: Lane, leases: Leases, stopping: Stopping, *, burst: bool) -> None:
        self._lane = lane
        self._leases = leases
        self._stopping = stopping
        self._burst = burst

    def step(self) -> float:
        """Claim and start; seconds to rest, 0 while there is work."""
        room = self._lane.room(_LOOK_UP)
        if not room:
            return 0.0
        lane = self._lane
        asked_at = time.monotonic()
        claimed = get_queue().claim(
            lane.channel,
            worker=lane.worker,
            limit=room,
            lease=lane.lease,
            timeout=0.0 if self._burst else options.simq_pop_timeout,
        )
        if not claimed:
            lane.empty_at = asked_at
            return _BURST_REST if self._burst else 0.0
        try:
            if self._stopping.is_asked:
                give_back(claimed, "worker_stopping")
                return 0.0
            runs = start(lane.model, claimed, worker=lane.worker, lease=lane.lease)
        except QueueUnavailable:
            raise
        except Exception:
            give_back(claimed, "start_failed")
            raise
        self._leases.hold(runs, lane)
        lane.accept(runs)
        return 0.0
