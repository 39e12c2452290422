"""Recover, drop, release and reject events are listed by reason, worker and time."""

import contextlib
import csv
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections
from django.test.utils import CaptureQueriesContext

from django_simpletask3.db import clock
from django_simpletask3.exceptions import StaleTask
from django_simpletask3.monitoring import recovery_report as module
from django_simpletask3.monitoring.recovery_report import (
    Cursor,
    Page,
    Recovery,
    RecoveryFilter,
    count_recoveries,
    page,
    recoveries,
)
from django_simpletask3.monitoring.scope import QueryScope
from django_simpletask3.recovery import service
from django_simpletask3.states import EventKind, Status
from tests.steps import apply_kinds, bring_to, create_task
from tests.testapp.models import Elsewhere, Invoice, Letter, UuidKeyed

pytestmark = pytest.mark.django_db


def lost(model: type[Any]) -> Any:
    """A task that was recovered from a dead worker."""
    task = bring_to(create_task(model), Status.RUNNING)
    service.recover_dead_workers(["w1"])
    task.refresh_from_db()
    return task


def criteria(models: Any = None, **options: Any) -> RecoveryFilter:
    return RecoveryFilter(QueryScope(models), **options)


def listed(models: Any = None, **options: Any) -> list[Recovery]:
    return list(recoveries(criteria(models, **options)))


def test_a_recovered_task_is_listed_with_who_lost_it() -> None:
    task = lost(Invoice)

    (one,) = listed()

    assert (one.model, one.task, one.sequence) == ("testapp.Invoice", str(task.pk), 3)
    assert (one.kind, one.reason, one.worker, one.attempt) == ("recover", "worker_died", "w1", 1)
    assert one.time == task.events.last().event_time


def test_every_kind_in_every_table_and_database_is_listed() -> None:
    lost(Elsewhere)
    task = apply_kinds(bring_to(create_task(Letter), Status.RUNNING), EventKind.RELEASE)
    late = Letter.objects.get(pk=apply_kinds(task, EventKind.START, worker="w2").pk)
    apply_kinds(task, EventKind.DROP)
    late.attempt = 1
    with contextlib.suppress(StaleTask):
        apply_kinds(late, EventKind.ACK, worker="w1")

    found = {(one.database, one.model, one.kind, one.worker, one.attempt) for one in listed()}

    assert found == {
        ("other", "testapp.Elsewhere", "recover", "w1", 1),
        ("default", "testapp.Letter", "release", "w1", 1),
        ("default", "testapp.Letter", "drop", "w1", 2),
        ("default", "testapp.Letter", "reject", "w1", 1),
    }


def test_recoveries_can_be_filtered() -> None:
    first, second = lost(Invoice), lost(Letter)
    apply_kinds(
        bring_to(create_task(Letter), Status.RUNNING), EventKind.RELEASE, worker="w2", reason="stop"
    )
    when = second.events.last().event_time

    assert [one.task for one in listed(models=[Invoice])] == [str(first.pk)]
    assert [one.kind for one in listed(kinds=[EventKind.RELEASE])] == ["release"]
    assert [one.reason for one in listed(reason="stop")] == ["stop"]
    assert {one.worker for one in listed(worker="w2")} == {"w2"}
    assert listed(since=when + timedelta(hours=1)) == []
    assert [one.model for one in listed(until=when)] == ["testapp.Invoice"]
    assert {one.model for one in listed(since=when)} == {"testapp.Letter"}


def test_pages_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [lost(Invoice) for _ in range(7)]
    monkeypatch.setattr(module, "PAGE_SIZE", 2)

    found = [one.task for one in recoveries(criteria([Invoice]))]

    assert found == [str(task.pk) for task in tasks]


@pytest.mark.skipif(connections["default"].vendor != "postgresql", reason="PostgreSQL explains")
def test_a_period_is_found_by_an_index() -> None:
    lost(Invoice)
    with CaptureQueriesContext(connections["default"]) as queries:
        listed(models=[Invoice])

    with connections["default"].cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN " + queries[0]["sql"])
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert "Index Cond: ((kind)::text = " in plan


def command(*words: str) -> str:
    output = StringIO()
    call_command("django-simpletask3-audit", "recoveries", *words, stdout=output)
    return output.getvalue()


def test_the_command_lists_and_counts() -> None:
    task = lost(Invoice)
    lost(Letter)

    output = command()

    assert f"recover  worker_died       testapp.Invoice {task.pk} #3 attempt 1  w1" in output
    assert output.splitlines()[-1].split() == ["2", "recover", "worker_died"]


def test_the_command_says_when_there_is_nothing() -> None:
    assert command("--model", "testapp.Invoice") == (
        "Nothing was recovered, dropped, released or rejected.\n"
    )


def test_the_command_writes_a_table_for_spreadsheets() -> None:
    task = apply_kinds(
        bring_to(create_task(Invoice), Status.RUNNING), EventKind.RELEASE, reason="=1+1"
    )

    rows = list(csv.DictReader(StringIO(command("--csv"))))

    assert [row["task"] for row in rows] == [str(task.pk)]
    assert rows[0]["reason"] == "'=1+1"
    assert list(rows[0]) == list(Recovery.__dataclass_fields__)


@pytest.mark.parametrize("arguments", [(), ("--csv",)])
def test_the_command_sends_nothing_to_the_terminal(arguments: tuple[str, ...]) -> None:
    task = bring_to(create_task(Invoice), Status.RUNNING)
    apply_kinds(task, EventKind.RELEASE, reason="one\x1b[2J\u2028two", worker="w\x9b31m")

    output = command(*arguments)

    assert "one\\x1b[2J\\u2028two" in output
    assert all(line.isprintable() for line in output.splitlines())


def test_the_command_takes_times_and_kinds() -> None:
    lost(Invoice)

    assert "Nothing" in command("--since", "2999-01-01")
    assert "Nothing" in command("--until", "1999-01-01T10:00")
    assert "Nothing" in command("--kind", "reject")
    assert "recover" in command("--kind", "recover", "--since", "1999-01-01")


def walked(size: int, **options: Any) -> list[Recovery]:
    """All pages, one after the other; no more than a test has tasks."""
    cursor: Cursor | None = None
    found: list[Recovery] = []
    for _ in range(100):
        one: Page = page(criteria(**options), size, cursor)
        found += one.recoveries
        cursor = one.next_cursor
        if cursor is None:
            break
    return found


@pytest.mark.parametrize("is_at_once", [True, False])
@pytest.mark.parametrize("most", [1, 2, 3, 100])
@pytest.mark.thorough
def test_the_newest_come_first_and_none_is_missing_or_twice(
    most: int, is_at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [
        bring_to(create_task(model), Status.RUNNING) for model in (Invoice, Letter, UuidKeyed) * 2
    ]
    if is_at_once:
        moment = clock.now("default")
        monkeypatch.setattr(clock, "now", lambda using: moment)
    service.recover_dead_workers(["w1"])

    found = walked(most)

    assert len(found) == len(set(found)) == len(tasks)
    assert {one.task for one in found} == {str(task.pk) for task in tasks}
    assert sorted((one.time for one in found), reverse=True) == [one.time for one in found]
    assert set(found) == set(listed())


@pytest.mark.thorough
def test_pages_can_be_narrowed_down_like_the_list() -> None:
    lost(Invoice), lost(Elsewhere)
    apply_kinds(
        bring_to(create_task(Letter), Status.RUNNING), EventKind.RELEASE, worker="w2", reason="stop"
    )

    asked: list[dict[str, Any]] = [
        {"models": [Invoice]},
        {"kinds": [EventKind.RELEASE]},
        {"reason": "stop"},
        {"worker": "w2"},
        {"worker": "w1"},
        {"since": sorted(one.time for one in listed())[1]},
        {"until": sorted(one.time for one in listed())[1]},
    ]
    for one in asked:
        assert set(walked(1, **one)) == set(listed(**one))
    assert {len(listed(**one)) for one in asked} == {1, 2}


def test_a_page_takes_one_statement_per_database(django_assert_num_queries: Any) -> None:
    lost(Invoice), lost(Letter)

    with django_assert_num_queries(1, connection=connections["default"]):
        page(RecoveryFilter(), size=10)


def test_recoveries_are_counted_by_kind_and_reason() -> None:
    lost(Invoice), lost(Letter), lost(Elsewhere)
    apply_kinds(
        bring_to(create_task(Letter), Status.RUNNING), EventKind.RELEASE, worker="w2", reason="stop"
    )
    when = min(one.time for one in listed())

    assert count_recoveries(when).numbers == {("recover", "worker_died"): 3, ("release", "stop"): 1}
    assert count_recoveries(when, QueryScope([Letter])).numbers == {
        ("recover", "worker_died"): 1,
        ("release", "stop"): 1,
    }
    assert count_recoveries(when + timedelta(hours=1)).numbers == {}
    assert count_recoveries(when).capped == set()


def test_no_more_than_so_many_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_COUNTED", 2)
    for _ in range(3):
        lost(Invoice)
    apply_kinds(bring_to(create_task(Letter), Status.RUNNING), EventKind.RELEASE, reason="stop")
    when = min(one.time for one in listed())

    counts = count_recoveries(when)

    assert counts.numbers == {("recover", "worker_died"): 2, ("release", "stop"): 1}
    assert counts.capped == {"recover"}


def mentions(worker: str) -> Any:
    """A recovery that is not of ``worker``, though its event has the name in it."""
    task = bring_to(create_task(Invoice), Status.RUNNING)
    data = {"lost_worker": "another worker", "seen_by": worker}
    return apply_kinds(task, EventKind.RECOVER, data=data)


@pytest.mark.parametrize("most_read", [2, 4, 5000])
@pytest.mark.thorough
def test_a_worker_is_found_behind_many_who_only_mention_it(
    most_read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_READ", most_read)
    task = lost(Invoice)
    for _ in range(20):
        mentions("w1")

    found = walked(1, worker="w1")

    assert [one.task for one in found] == [str(task.pk)]


def test_the_search_ends_at_more_events_of_one_instant_than_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_READ", 2)
    moment = clock.now("default")
    monkeypatch.setattr(clock, "now", lambda using: moment)
    for _ in range(20):
        mentions("w1")

    assert walked(1, worker="w1") == []


@pytest.mark.parametrize("name", ["wörker", 'a"b', "back\\slash", "100%_"])
def test_a_worker_of_any_name_is_found(name: str) -> None:
    task = apply_kinds(
        bring_to(create_task(Invoice), Status.RUNNING),
        EventKind.RECOVER,
        data={"lost_worker": name},
    )

    (one,) = walked(1, worker=name)

    assert (one.task, one.worker) == (str(task.pk), name)
