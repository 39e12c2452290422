"""What a process says of itself, and how often."""

import time
from typing import Any

import pytest

from django_simpletask3.queue import Queue
from django_simpletask3.worker.leases import Leases
from django_simpletask3.worker.maintenance.jobs import shared_schedule
from django_simpletask3.worker.node.counters import Counters
from django_simpletask3.worker.pipeline import ModelPipeline
from django_simpletask3.worker.worker_report import WorkerReport
from tests.testapp.models import Invoice


class Reporter:
    """A process that reports in quick motion, and the times at which it did."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.sent_at = 0.0, list[float]()
        self.pipeline = ModelPipeline(Invoice, 1, "node:1:token")
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(Queue, "report", lambda *_: self.sent_at.append(self.now))
        leases = Leases(self.pipeline.worker)
        self._reports = WorkerReport(
            self.pipeline.worker, [self.pipeline], leases, Counters(), shared_schedule()
        )

    def go_on(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += self._reports.step()


@pytest.fixture
def reporter(monkeypatch: pytest.MonkeyPatch) -> Reporter:
    return Reporter(monkeypatch)


def test_an_unchanged_report_is_sent_every_thirty_seconds(reporter: Reporter) -> None:
    reporter.go_on(90)

    assert reporter.sent_at == [0, 30, 60]


def test_a_changed_report_is_sent_at_the_next_step(reporter: Reporter) -> None:
    reporter.go_on(10)
    reporter.pipeline.discard(-1)  # one is claimed

    reporter.go_on(50)

    assert reporter.sent_at == [0, 10, 40]


def test_a_worker_reports_before_its_last_report_expires(reporter: Reporter, settings: Any) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_WORKER_STATUS_EXPIRE = 40

    reporter.go_on(30)

    assert reporter.sent_at == [0, 10, 20]
