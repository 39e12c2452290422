"""Worker nodes deliver events; a killed node leaves its deliveries to others."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from django_simpletask3.models import Delivery
from tests.eventually import eventually
from tests.subscriptions.conftest import Follow
from tests.testapp.models import Invoice
from tests.worker.conftest import drain, start_server  # noqa: F401 - fixtures
from tests.worker.processes import group

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]


@pytest.fixture
def event_log(tmp_path: Path, follow: Follow) -> Any:
    """The file in which the subscriber of the test app writes the events it receives."""
    follow("testapp", lambda task, event: None, Invoice)  # so that this process writes deliveries
    return tmp_path / "event_log"


def environment(path: Path, **more: str) -> dict[str, str]:
    return {"SIMPLETASK3_TEST_EVENT_LOG": str(path), **more}


def received(path: Path) -> list[str]:
    return (
        [line.rpartition(" ")[0] for line in path.read_text().splitlines()] if path.exists() else []
    )


def test_a_burst_delivers_what_is_due_before_it_ends(event_log: Path, drain: Any) -> None:  # noqa: F811
    task = Invoice.objects.create()

    drain(**environment(event_log))

    assert received(event_log) == [f"{task.pk} {kind}" for kind in ("enqueue", "start", "ack")]
    assert not Delivery.objects.exists()


def test_a_server_killed_between_the_call_and_the_end_leaves_it_to_the_next(
    event_log: Path,
    start_server: Any,  # noqa: F811
    drain: Any,  # noqa: F811
) -> None:
    task = Invoice.objects.create()
    stuck = start_server(**environment(event_log, SIMPLETASK3_TEST_EVENT_LOG_HANGS="1"))
    eventually(lambda: received(event_log) == [f"{task.pk} enqueue"])

    victims = group(stuck.pid)
    os.killpg(stuck.pid, signal.SIGKILL)
    eventually(lambda: not group(stuck.pid))
    assert victims
    assert Delivery.objects.filter(kind="enqueue").exists()
    running = start_server(**environment(event_log))
    eventually(lambda: f"{task.pk} ack" in received(event_log), timeout=60)
    eventually(lambda: not Delivery.objects.exists())
    running.send_signal(signal.SIGTERM)

    # The killed node may have claimed or started the task, too: then it was recovered.
    kinds = [str(event.kind) for event in task.events.all()]
    assert received(event_log) == [f"{task.pk} {kind}" for kind in ["enqueue", *kinds]]
    ends = {"enqueue start ack", "enqueue recover start ack", "enqueue start recover start ack"}
    assert " ".join(kinds) in ends
