"""What the how-to pages and the reference show does what they say."""

import asyncio
import json
import logging
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import models
from django.test import RequestFactory

from django_simpletask3 import signals
from django_simpletask3.states import EventKind, Status
from django_simpletask3.testing import run_tasks
from tests.docs.pages import DOCS, README, Page, reference
from tests.eventually import eventually
from tests.steps import bring_to, kinds
from tests.testapp.models import Invoice, Keyworded


def how_to(name: str) -> Page:
    return Page(DOCS / "how-to" / f"{name}.md")


def defined_by(code: str, **names: Any) -> dict[str, Any]:
    exec(compile(code, "page", "exec"), names)
    return names


@pytest.mark.django_db
@pytest.mark.parametrize("fails", [False, True])
def test_the_receivers_of_the_readme_hear_of_outcomes(
    fails: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    code = README.block("python", "task_failed, task_succeeded")
    received = defined_by(code.replace("from .models import Task1", ""), Task1=Invoice)
    task = Invoice.objects.create(fails=fails, amount=3)

    run_tasks(task)

    reported = capsys.readouterr().out
    expected = "attempt 1: invoice of 3 cannot be sent" if fails else "OK"
    assert reported == (
        f"task {task.pk}, {expected}\n" if fails else f"task {task.pk}: {expected}\n"
    )
    signals.task_succeeded.disconnect(received["congratulate"], sender=Invoice)
    signals.task_failed.disconnect(received["apologize"], sender=Invoice)


@pytest.mark.django_db
def test_the_outbox_is_written_with_the_outcome() -> None:
    class Outbox:
        """Stands for the page's Notification, which is a task, too."""

        class objects:  # noqa: N801
            @staticmethod
            def create(**columns: Any) -> models.Model:
                assert set(columns) == {"task_pk", "outcome"}
                return Keyworded.objects.create()

    code = how_to("subscribe-to-outcomes").block("python", "def note_outcome")
    imports = "from .models import Import, Notification"
    received = defined_by(code.replace(imports, ""), Import=Invoice, Notification=Outbox)
    task = Invoice.objects.create()

    run_tasks(task)

    signals.event_recorded.disconnect(received["note_outcome"], sender=Invoice)
    (queued,) = Keyworded.objects.pending()
    assert kinds(task)[-1] == EventKind.ACK
    assert kinds(queued) == ["enqueue"]


@pytest.mark.django_db
def test_the_chain_of_a_stream_can_be_verified() -> None:
    task = Invoice.objects.create()
    run_tasks(task)

    code = reference("events").block("python", "broken_links")
    found = defined_by(code, task=task)

    assert found["broken_links"](found["stream"]) == []
    assert found["fold"](found["stream"]).differences(found["Projection"].of(task)) == {}


@pytest.mark.django_db
def test_a_context_is_in_the_event() -> None:
    code = reference("events").block("python", "with task_context")

    class Request:
        user = "alice"

    defined_by(code, Task1=Invoice, request=Request)

    (event,) = Invoice.objects.get().events.all()
    assert (event.actor, event.reason, event.data) == ("alice", "month end", {"order": 12})


@pytest.mark.django_db
def test_log_records_name_the_current_task(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    code = reference("tasks").block("python", "class TaskFilter")
    task_filter = defined_by(code, __name__="page")["TaskFilter"]()
    monkeypatch.setattr(Invoice, "do_task", lambda self: logging.getLogger("x").error("here"))
    task = Invoice.objects.create()

    with caplog.filtering(task_filter):
        run_tasks(task)
        logging.getLogger("x").error("there")

    named = {record.message: record.current_task for record in caplog.records if record.name == "x"}
    assert named == {"here": f"testapp.Invoice {task.pk}", "there": ""}


@pytest.mark.django_db
def test_the_runs_of_many_tasks_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    error = {"type": "ValueError", "message": "no"}
    task = bring_to(Invoice.objects.create(), Status.FAILED, error_data=error)

    defined_by(reference("tasks").block("python", "prefetch_runs"), Task1=Invoice)

    assert capsys.readouterr().out == f"{task.pk} 1 w1 fail {error}\n"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("outcome", ["succeeds", "fails", "does not end"])
def test_a_view_awaits_the_result_of_its_task(outcome: str, redis_url: str) -> None:
    code = how_to("use-tasks-in-coroutines").block("python", "async def run_task")
    code = code.replace("from .models import Task1", "").replace("timeout=20", "timeout=timeout")
    timeout = 0.05 if outcome == "does not end" else 20
    view = defined_by(code, Task1=Invoice, timeout=timeout)["run_task"]

    def run_the_new_task() -> None:
        run_tasks(eventually(Invoice.objects.first))

    async def answer() -> Any:
        response = asyncio.ensure_future(view(RequestFactory().get("/")))
        while outcome != "does not end" and not await Invoice.objects.aexists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if outcome == "fails":
            await Invoice.objects.aupdate(fails=True)
        if outcome != "does not end":
            await sync_to_async(run_the_new_task)()
        return await response

    response = async_to_sync(answer)()

    assert response.status_code == {"succeeds": 200, "fails": 502, "does not end": 202}[outcome]
    assert outcome != "succeeds" or json.loads(response.content) == {"result": "OK"}
