"""Rows and events of a newer version, as a node of this version meets them in a rolling deploy."""

import io
import logging
from datetime import timedelta
from typing import Any

import pytest
from django.db import models
from django.test import Client

from django_simpletask3.audit.check import audit
from django_simpletask3.audit.export import export_streams
from django_simpletask3.audit.verify import verify_export
from django_simpletask3.db import clock
from django_simpletask3.exceptions import IllegalTransition, WaitTimeout
from django_simpletask3.execution import finish, perform, start
from django_simpletask3.ledger.event import event_model_of
from django_simpletask3.ledger.outbox import Delivery
from django_simpletask3.ledger.projection import Projection, fold
from django_simpletask3.ledger.stream_check import DiscrepancyKind
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.queue import get_queue
from django_simpletask3.recovery import service
from django_simpletask3.retention.prune import PruneOptions, prune
from django_simpletask3.states import FINAL, EventKind, Status
from django_simpletask3.subscriptions import deliver
from django_simpletask3.transitions.writer import apply
from tests.admin.pages import CANCEL, EXECUTE, RETRY, post_action, url
from tests.steps import (
    apply_kinds,
    bring_to,
    create_task,
    is_due_for_recovery,
    kinds,
    message_count,
    row_of,
    run_command,
    stream_of,
)
from tests.subscriptions.conftest import follow  # noqa: F401 - a fixture
from tests.testapp.models import Invoice
from tests.worker.conftest import drain, start_server  # noqa: F401 - fixtures

pytestmark = pytest.mark.django_db(transaction=True)

WORKER = "node:1:token"
#: A status and kinds that this version does not know.
LATER = 7


def started(model: Any) -> list[Any]:
    messages = get_queue().claim(model.get_event_channel(), worker=WORKER, limit=10, lease=60)
    return start.start(model, messages, worker=WORKER, lease=60)[0]


def with_status(task: Any, status: int) -> Any:
    models.QuerySet(type(task)).filter(pk=task.pk).update(status=status)
    return task


def write(task: Any, kind: str, to_status: int | None, **data: Any) -> Any:
    """An event that a newer version has written for ``task``, and the row after it."""
    row = row_of(task)
    event = event_model_of(type(task))(
        task_id=task.pk,
        sequence=row.sequence + 1,
        kind=kind,
        from_status=row.status,
        to_status=to_status,
        attempt=row.attempt,
        event_time=clock.now("default"),
        worker="newer",
        data=data or None,
    )
    event.digest = event.expected_digest(row.digest)
    event.save()
    columns = {"status": to_status, "sequence": event.sequence, "digest": event.digest}
    models.QuerySet(type(task)).filter(pk=task.pk).update(
        **columns, **({} if to_status in (0, 10) else {"check_at": None})
    )
    task.refresh_from_db()
    return event


@pytest.fixture
def parked() -> Any:
    """A task that a newer version has brought into a status of its own."""
    task = create_task(Invoice)
    write(task, "park", LATER, gate={"name": "x"})
    return task


@pytest.fixture
def returned(parked: Any) -> Any:
    """The same, PENDING again, by another kind of its own."""
    write(parked, "unpark", Status.PENDING, gate=None)
    return parked


# The worker


@pytest.mark.parametrize("others", [0, 2])
def test_a_row_of_an_unknown_status_is_settled_and_logged(
    others: int, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = with_status(create_task(Invoice), LATER)
    known = [create_task(Invoice) for _ in range(others)]

    with caplog.at_level(logging.WARNING):
        runs = started(Invoice)

    assert [run.task.pk for run in runs] == [task.pk for task in known]
    assert (row_of(unknown).status, kinds(unknown)) == (LATER, ["enqueue"])
    assert message_count(unknown) == 0
    assert f"unknown_status model=testapp.Invoice pk={unknown.pk} status=7" in caplog.text


@pytest.mark.thorough
def test_a_burst_leaves_a_row_of_an_unknown_status_alone(
    parked: Any,
    drain: Any,  # noqa: F811
) -> None:
    known = create_task(Invoice)

    output = drain("--models", "testapp.Invoice")

    assert row_of(known).status == Status.SUCCESS
    assert kinds(parked) == ["enqueue", "park"]
    assert "unknown_status" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("kind", [EventKind.RESET, EventKind.CANCEL, EventKind.RECOVER])
def test_a_row_of_an_unknown_status_is_not_moved(kind: EventKind) -> None:
    task = with_status(create_task(Invoice), LATER)

    with pytest.raises(IllegalTransition, match=f"a 7 task cannot {kind}"):
        apply(task, kind)


def test_a_row_of_an_unknown_status_takes_a_note(parked: Any) -> None:
    event = apply(parked, EventKind.NOTE, reason="seen")

    assert (event.from_status, event.to_status, row_of(parked).status) == (LATER,) * 3


def test_an_outcome_of_a_task_that_was_parked_meanwhile_is_refused() -> None:
    task = create_task(Invoice)
    [run] = started(Invoice)
    perform.perform(run)
    write(task, "park", LATER)

    finish.finish([run])

    assert row_of(task).status == LATER
    assert kinds(task) == ["enqueue", "start", "park", "reject"]


def test_recovery_leaves_a_row_of_an_unknown_status_alone(parked: Any) -> None:
    rows_of(Invoice, "default").filter(pk=parked.pk).update_managed(check_at=parked.add_time)

    service.recover_all()

    assert is_due_for_recovery(parked)
    assert kinds(parked) == ["enqueue", "park"]


def test_a_task_with_events_of_unknown_kinds_runs(returned: Any) -> None:
    [run] = started(Invoice)
    perform.perform(run)
    finish.finish([run])

    row = row_of(returned)
    assert kinds(returned) == ["enqueue", "park", "unpark", "start", "ack"]
    assert fold(stream_of(returned)).differences(Projection.of(row)) == {}
    assert [run.outcome for run in returned.runs] == [EventKind.ACK]
    assert (returned.retries, returned.snoozes) == (0, 0)


def test_unknown_keys_of_data_disturb_no_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Invoice, "django_simpletask3_max_retries", 1)
    task = create_task(Invoice, fails=True)
    write(task, "note", Status.PENDING, gate=[1, {"x": None}], unique="abc", phase={"deep": {}})

    [run] = started(Invoice)
    perform.perform(run)
    finish.finish([run])

    assert kinds(task) == ["enqueue", "note", "start", "retry"]
    assert list(audit(Invoice, "default")) == []


# Questions about a task


def test_what_a_task_was_follows_from_unknown_events(returned: Any) -> None:
    events = stream_of(returned)

    statuses = [returned.state_at(event.event_time).status for event in events]

    assert [fold(events[:n]).status for n in (1, 2, 3)] == [Status.PENDING, LATER, Status.PENDING]
    assert statuses[-1] == Status.PENDING


@pytest.mark.parametrize(
    ("to_status", "times"),
    [
        pytest.param(Status.RUNNING, {"start_time"}, id="running"),
        pytest.param(Status.FAILED, {"done_time"}, id="final"),
        pytest.param(Status.PENDING, set(), id="waiting"),
        pytest.param(None, set(), id="gone"),
    ],
)
def test_the_times_of_a_task_follow_from_unknown_events(
    to_status: int | None, times: set[str]
) -> None:
    task = create_task(Invoice)
    before = Projection.of(row_of(task))
    event = event_model_of(Invoice)(kind="leap", to_status=to_status, attempt=3, sequence=2)
    event.event_time = clock.now("default")

    after = before.after(event)

    assert (after.status, after.sequence) == (to_status, 2)
    names = ("start_time", "done_time", "result_time")
    assert {name for name in names if getattr(after, name) is not None} == times


def test_a_known_event_in_a_known_status_is_still_judged() -> None:
    task = bring_to(create_task(Invoice), Status.SUCCESS)
    event = stream_of(task)[-1]

    with pytest.raises(IllegalTransition):
        Projection.of(row_of(task)).after(event)


def test_waiting_for_it_ends_in_time(parked: Any) -> None:
    with pytest.raises(WaitTimeout):
        parked.wait(0.1)


def test_why_it_does_not_run_is_explained(parked: Any) -> None:
    assert "7" in str(parked.explain())


# The audit


def findings(**options: Any) -> list[Any]:
    return list(audit(Invoice, "default", **options))


@pytest.mark.parametrize("name", ["parked", "returned"])
def test_an_audit_finds_nothing_wrong_and_says_what_it_has_not_compared(
    name: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    request.getfixturevalue(name)

    with caplog.at_level(logging.WARNING):
        output, code = run_command("django-simpletask3-audit")

    assert code == 0, output
    assert "audit_incomplete model=testapp.Invoice database=default tasks=1" in caplog.text


@pytest.mark.parametrize("column", ["status", "attempt"])
def test_an_edited_row_is_found_but_not_repaired(returned: Any, column: str) -> None:
    models.QuerySet(Invoice).filter(pk=returned.pk).update(**{column: 20})

    [finding] = findings(repair=True)

    assert (finding.problem, finding.repaired) == (DiscrepancyKind.ROW, False)
    assert "repair the row with that version" in finding.detail
    assert getattr(row_of(returned), column) == 20


def test_a_changed_event_of_an_unknown_kind_is_found(returned: Any) -> None:
    stream = event_model_of(Invoice)._base_manager.filter(task=returned.pk, kind="park")
    models.QuerySet.update(stream, reason="forged")

    assert [finding.problem for finding in findings(repair=True)] == [DiscrepancyKind.DIGEST]


def test_a_removed_event_of_an_unknown_kind_is_found(returned: Any) -> None:
    stream = event_model_of(Invoice)._base_manager.filter(task=returned.pk, kind="park")
    stream._raw_delete("default")

    assert DiscrepancyKind.GAP in {finding.problem for finding in findings()}


def test_a_row_that_a_newer_version_has_deleted_is_no_orphan(returned: Any) -> None:
    write(returned, "sweep", Status.PENDING)
    event = event_model_of(Invoice)(kind="away", from_status=0, to_status=None, task_id=returned.pk)
    row = row_of(returned)
    event.sequence, event.attempt = row.sequence + 1, row.attempt
    event.event_time = clock.now("default")
    event.digest = event.expected_digest(row.digest)
    event.save()
    models.QuerySet(Invoice).filter(pk=returned.pk)._raw_delete("default")

    assert findings(repair=True) == []


def test_its_export_is_verified(parked: Any) -> None:
    file = io.StringIO()
    manifest = export_streams(file, [(Invoice, "default")])
    file.seek(0)

    assert list(verify_export(file)) == [manifest]


def test_its_export_is_verified_with_known_events_after_unknown_ones(returned: Any) -> None:
    apply_kinds(returned, EventKind.START, EventKind.ACK, result="OK")
    file = io.StringIO()
    manifest = export_streams(file, [(Invoice, "default")])
    file.seek(0)

    assert list(verify_export(file)) == [manifest]


# The admin


@pytest.mark.parametrize("name", ["parked", "returned"])
def test_the_admin_shows_it(
    name: str, request: pytest.FixtureRequest, admin_client: Client
) -> None:
    task = request.getfixturevalue(name)

    pages = [
        admin_client.get(page)
        for page in (
            url(Invoice),
            f"{url(Invoice)}?status__exact=7",
            url(task),
            url(task, "timeline"),
            "/admin/django_simpletask3/dashboard/",
        )
    ]

    assert [page.status_code for page in pages] == [200] * len(pages)
    assert "park" in pages[2].content.decode()


@pytest.mark.parametrize("action", [EXECUTE, RETRY, CANCEL])
def test_an_action_leaves_it_alone(parked: Any, admin_client: Client, action: str) -> None:
    known = create_task(Invoice)

    answer = post_action(admin_client, action, parked, known)

    assert answer.status_code == 200
    assert row_of(parked).status == LATER
    assert "Traceback" not in answer.content.decode()


def test_the_status_counts_it(parked: Any) -> None:
    output, code = run_command("django-simpletask3-status", "--json")

    assert code in (0, 1)
    assert "testapp.Invoice" in output


def test_retention_and_erasing_leave_it_alone(parked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    instantly = dict.fromkeys(FINAL, timedelta(microseconds=1))
    monkeypatch.setattr(Invoice, "django_simpletask3_retention", instantly)

    results = list(prune([Invoice], PruneOptions()))

    assert [result.pruned for result in results] == [0, 0, 0]
    with pytest.raises(IllegalTransition, match="is 7, and cannot be erased"):
        parked.erase()


def test_a_subscriber_is_called_with_an_event_of_an_unknown_kind(parked: Any, follow: Any) -> None:  # noqa: F811
    seen: list[str] = []
    follow("later", lambda task, event: seen.append(f"{task.status} {event.kind}"), Invoice)
    event = stream_of(parked)[-1]
    Delivery.objects.create(
        subscription="later",
        model="testapp.Invoice",
        task_key=parked.pk,
        sequence=event.sequence,
        kind=event.kind,
        event_time=event.event_time,
        due_time=event.event_time,
    )

    deliver(worker=WORKER)

    assert seen == ["7 park"]
