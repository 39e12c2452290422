"""The registry of living workers and their status reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..logs import printable
from .encoding import Undecodable, dumps, loads
from .transport import Transport

_MAX_NAME = 255


@dataclass(frozen=True, slots=True)
class Report:
    """The last status report of a worker; ``age`` in seconds."""

    worker: str
    age: float
    status: dict[str, Any]


class WorkerRegistry(Transport):
    """Reports of living workers; a report expires after ``worker_status_expire`` seconds."""

    def report(self, worker: str, status: dict[str, object]) -> None:
        """Register ``worker``, or replace its report. Raises QueueUnavailable."""
        self.run("report", worker, dumps(worker), int(self.worker_status_expire), dumps(status))

    def deregister_worker(self, worker: str) -> None:
        """Remove ``worker`` and its report. Raises QueueUnavailable."""
        self.run("deregister_worker", worker)

    def workers(self, *, limit: int = 1000) -> list[Report]:
        """The reports of living workers, newest first. Raises QueueUnavailable."""
        return [
            Report(_decode_name(worker), max(0.0, float(age)), _decode_status(report))
            for worker, age, report in self.run("workers", limit, int(self.worker_status_expire))
        ]


def _decode_name(worker: bytes) -> str:
    """The name as one line of printable text; that of a worker of ours is left as it is."""
    return printable(worker[:_MAX_NAME].decode(errors="backslashreplace"))


def _decode_status(report: bytes) -> dict[str, object]:
    try:
        status = loads(report)
    except Undecodable:
        return {}
    return status if isinstance(status, dict) else {}
