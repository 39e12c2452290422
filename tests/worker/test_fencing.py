"""What a run that was superseded says late, changes nothing: row, stream and message."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from django_simpletask3.exceptions import StaleTask
from django_simpletask3.execution.perform import perform
from django_simpletask3.queue import get_queue
from django_simpletask3.states import Status
from django_simpletask3.worker.pipeline import ModelPipeline
from tests.eventually import eventually
from tests.steps import kinds, status_of
from tests.testapp.models import Attentive, Scripted
from tests.worker.conftest import Start
from tests.worker.processes import child_of, freeze
from tests.worker.steps import WORKER, start_waiting

pytestmark = pytest.mark.thorough

LEASE = {
    "DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT": "2",
    "DJANGO_SIMPLETASK3_SHUTDOWN_GRACE": "1",
}


def message_of(task: Any) -> dict[str, str]:
    """What SimQ says of the finished task."""
    queue = get_queue()
    fields = queue.db.hgetall(queue.get_item_key(task.get_task_id()))
    return {name.decode(): value.decode() for name, value in fields.items()}


def mark_of(task: Any, attempt: int) -> str:
    """By what SimQ knows the claim that ended a message."""
    return claim_of(task, attempt)[:6]


def row_of(task: Any) -> dict[str, Any]:
    """The row without what the evidence of a refusal moves: the end of the stream."""
    row = type(task).objects.filter(pk=task.pk).values().get()
    return {name: row[name] for name in row if name not in ("sequence", "digest", "mod_time")}


def claim_of(task: Any, attempt: int) -> str:
    return str(task.events.get(kind="start", attempt=attempt).data["claim"])


def worker_of(task: Any, attempt: int) -> str:
    return str(task.events.get(kind="start", attempt=attempt).worker)


def test_what_a_frozen_child_says_late_reaches_neither_row_nor_message(
    start_server: Start, tmp_path: Path
) -> None:
    here, go = tmp_path / "here", tmp_path / "go"
    script = [
        {"do": "touch", "path": str(here)},
        {"do": "wait", "path": str(go), "attempt": 1},
        {"do": "value", "value": "late", "attempt": 1},
        {"do": "value", "value": "in time", "attempt": 2},
    ]
    task = Scripted.objects.create(script=script)
    node = start_server("--models", "testapp.Scripted", **LEASE)
    eventually(here.exists)
    frozen = child_of(task)

    freeze(task, frozen)
    start_server("--models", "testapp.Scripted", **LEASE)
    eventually(lambda: status_of(task) == Status.SUCCESS, timeout=60)
    eventually(lambda: message_of(task).get("status") == "done")
    row, message = row_of(task), message_of(task)
    go.touch()
    os.kill(frozen, signal.SIGCONT)
    eventually(lambda: "reject" in kinds(task), timeout=60)

    # Then it has said everything, also to Redis.
    node.send_signal(signal.SIGTERM)
    node.communicate(timeout=60)
    assert node.returncode == 0
    assert kinds(task) == ["enqueue", "start", "recover", "start", "ack", "reject"]
    assert (row_of(task), message_of(task)) == (row, message)
    assert (row["attempt"], row["result_data"]) == (2, "in time")
    # Of the second run, or of the worker that acknowledged a second message for the finished row.
    assert message["x_"] != mark_of(task, 1)
    evidence = task.events.get(kind="reject").data
    assert {
        "attempt": 1,
        "current_attempt": 2,
        "worker": worker_of(task, 1),
        "current_worker": worker_of(task, 2),
    }.items() <= evidence.items()


@pytest.fixture
def attentive(start_server: Start, tmp_path: Path) -> Attentive:
    """A task that runs, at a node with room for another."""
    task = Attentive.objects.create(folder=str(tmp_path))
    start_server("--models", "testapp.Attentive", **LEASE)
    eventually((tmp_path / "here").exists)
    return task


def test_a_task_reset_while_it_runs_sees_it_and_only_its_second_run_counts(
    attentive: Attentive, tmp_path: Path
) -> None:
    Attentive.objects.get(pk=attentive.pk).reset()

    eventually((tmp_path / "stopped").exists)
    eventually(lambda: "reject" in kinds(attentive))
    eventually(lambda: status_of(attentive) == Status.SUCCESS)
    eventually(lambda: message_of(attentive).get("status") == "done")
    assert sorted(kinds(attentive)) == sorted(
        ["enqueue", "start", "reset", "start", "ack", "reject"]
    )
    assert (attentive.attempt, attentive.result_data) == (2, "again")
    assert message_of(attentive)["x_"] == mark_of(attentive, 2)
    evidence = attentive.events.get(kind="reject").data
    assert (evidence["attempt"], evidence["worker"]) == (1, worker_of(attentive, 1))


def test_a_task_canceled_while_it_runs_sees_it_and_stays_canceled(
    attentive: Attentive, tmp_path: Path
) -> None:
    Attentive.objects.get(pk=attentive.pk).cancel()
    row = row_of(attentive)

    eventually((tmp_path / "stopped").exists)
    eventually(lambda: "reject" in kinds(attentive))
    assert kinds(attentive) == ["enqueue", "start", "cancel", "reject"]
    assert row_of(attentive) == row
    assert (row["status"], row["result_data"]) == (Status.CANCELED, None)
    assert message_of(attentive)["status"] == "canceled"
    evidence = attentive.events.get(kind="reject").data
    assert (evidence["attempt"], evidence["current_attempt"]) == (1, 1)


def test_a_task_that_is_canceled_sees_it_within_a_second(
    start_server: Start, tmp_path: Path
) -> None:
    task = Attentive.objects.create(folder=str(tmp_path))
    start_server("--models", "testapp.Attentive")  # with the lease of the default
    eventually((tmp_path / "here").exists)

    Attentive.objects.get(pk=task.pk).cancel()
    canceled_at = time.monotonic()
    eventually((tmp_path / "stopped").exists)

    assert time.monotonic() - canceled_at < 1.5  # with what the machine needs


def test_a_note_of_a_superseded_attempt_is_refused(
    transactional_db: None, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def body(task: Scripted) -> None:
        task.note("first")
        Scripted.objects.get(pk=task.pk).reset()
        with pytest.raises(StaleTask):
            task.note("second")
        seen.append(task.should_stop)

    monkeypatch.setattr(Scripted, "do_task", body)
    task = Scripted.objects.create()
    [run] = start_waiting(ModelPipeline(Scripted, 1, WORKER))
    perform(run)

    assert seen == [True]
    assert kinds(task) == ["enqueue", "start", "note", "reset"]
    run.task.note("from outside")
    assert kinds(task)[-1] == "note"
