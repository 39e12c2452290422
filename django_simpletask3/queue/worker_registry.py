"""The roll of workers: who is there, and how each is doing, as they said themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .encoding import Undecodable, dumps, loads
from .transport import Transport


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker said last, and how many seconds ago."""

    worker: str
    age: float
    status: dict[str, Any]


class WorkerRegistry(Transport):
    """Reports of living workers; who falls silent is forgotten after ``worker_status_expire``."""

    def report(self, worker: str, status: dict[str, Any]) -> None:
        """Put ``worker`` on the roll, with what it says."""
        self.run("report", worker, dumps(worker), int(self.worker_status_expire), dumps(status))

    def deregister_worker(self, worker: str) -> None:
        """Take ``worker`` off the roll."""
        self.run("deregister_worker", worker)

    def workers(self, *, limit: int = 1000) -> list[Report]:
        """The reports of the workers that live, the newest first."""
        return [
            Report(worker.decode(errors="replace"), float(age), _decode_status(report))
            for worker, age, report in self.run("workers", limit)
        ]


def _decode_status(report: bytes) -> dict[str, Any]:
    try:
        status = loads(report)
    except Undecodable:
        return {}
    return status if isinstance(status, dict) else {}
