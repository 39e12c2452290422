"""A query with blanks is compiled once and finds what each of its values would find."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections, models
from django.db.models import F, IntegerField, Value
from django.test.utils import CaptureQueriesContext

from django_simpletask3.db.limited_queries import (
    BoundQuery,
    FixedQuery,
    Placeholder,
    capped_counts,
    capped_value_counts,
    first_rows,
)
from django_simpletask3.ledger.event import events_of
from django_simpletask3.ledger.fields import KindField, StatusField
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.monitoring import recovery_report, statistics
from django_simpletask3.monitoring.recovery_report import RecoveryFilter
from django_simpletask3.monitoring.scope import QueryScope
from django_simpletask3.monitoring.statistics import Period
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.testapp.models import Invoice

pytestmark = pytest.mark.django_db

AMOUNT = Placeholder("amount", IntegerField())
KIND = Placeholder("kind", KindField())


class Seen(Placeholder):
    """A blank that counts how often it was compiled."""

    times = 0

    def as_sql(self, *args: Any) -> Any:
        Seen.times += 1
        return super().as_sql(*args)


def invoices() -> Any:
    return rows_of(Invoice, "default").order_by("pk").values_list("amount")


def recovered(**columns: Any) -> Any:
    """A task that was lost once and then succeeded."""
    task = Invoice.objects.create(**columns)
    apply(task, EventKind.START, worker="node-1")
    apply(task, EventKind.RECOVER, reason="worker_died")
    apply(task, EventKind.START, worker="node-1")
    apply(task, EventKind.ACK, worker="node-1")
    return task


def test_each_value_finds_what_it_would_find_in_a_query_of_its_own() -> None:
    Invoice.objects.bulk_enqueue({"amount": n} for n in (1, 2, 2, 3))
    blank = invoices().filter(amount=AMOUNT)
    queries = {n: BoundQuery(blank, {"amount": n}) for n in range(4)}

    assert first_rows("default", queries, 9) == {0: [], 1: [(1,)], 2: [(2,), (2,)], 3: [(3,)]}
    assert capped_counts("default", queries, 9) == {0: 0, 1: 1, 2: 2, 3: 1}


class Counted(Value):
    """A value that counts how often it was compiled."""

    times = 0

    def as_sql(self, *args: Any) -> Any:
        Counted.times += 1
        return super().as_sql(*args)


def test_a_fixed_query_is_compiled_again_for_another_session_or_limit_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Counted, "times", 0)
    fixed = FixedQuery(invoices().filter(amount__gte=Counted(2)))
    compiled = []

    def read(limit: int) -> list[Any]:
        rows = first_rows("default", {"fixed": fixed}, limit)["fixed"]
        compiled.append(Counted.times)
        return rows

    def compile_in_thread() -> None:
        fixed.compile("default", 2)
        connections.close_all()

    assert read(1) == []
    Invoice.objects.bulk_enqueue({"amount": n} for n in (1, 2, 3))
    assert read(1) == [(2,)]
    assert read(2) == [(2,), (3,)]
    with ThreadPoolExecutor() as threads:
        threads.submit(compile_in_thread).result()
    assert [*compiled, Counted.times] == [1, 1, 2, 3]


@pytest.mark.parametrize("kind", EventKind)
def test_a_kind_is_filled_in(kind) -> None:
    recovered()
    kinds = events_of(Invoice, "default").order_by("pk").values_list("kind")
    queries = {"filled": BoundQuery(kinds.filter(kind=KIND), {"kind": kind})}
    queries["plain"] = kinds.filter(kind=kind)

    found = first_rows("default", queries, 9)

    assert found["filled"] == found["plain"] == list(kinds.filter(kind=kind))


@pytest.mark.parametrize("status", Status)
def test_a_status_is_filled_in(status) -> None:
    recovered()
    Invoice.objects.create()
    rows = rows_of(Invoice, "default").values_list("status")
    blank = rows.filter(status=Placeholder("status", StatusField()))

    found = capped_counts("default", {0: BoundQuery(blank, {"status": status})}, 9)

    assert found == {0: rows.filter(status=status).count()}


def test_a_time_is_filled_in_to_the_microsecond() -> None:
    time = Invoice.objects.create().add_time
    step = timedelta(microseconds=1)
    field = models.DateTimeField()
    blank = invoices().filter(
        add_time__gte=Placeholder("begin", field), add_time__lt=Placeholder("end", field)
    )
    bounds = {"before": (time - step, time), "at": (time, time + step), "after": (time + step,) * 2}
    queries = {
        name: BoundQuery(blank, {"begin": begin, "end": end})
        for name, (begin, end) in bounds.items()
    }

    assert capped_counts("default", queries, 9) == {"before": 0, "at": 1, "after": 0}


def test_a_blank_may_stand_in_several_places_and_beside_a_value_that_equals_its_own() -> None:
    Invoice.objects.bulk_enqueue({"amount": n} for n in (7, 8, 9))
    blank = invoices().filter(amount__in=[AMOUNT, 7]).exclude(amount=AMOUNT)

    found = first_rows("default", {n: BoundQuery(blank, {"amount": n}) for n in (7, 8)}, 9)

    assert found == {7: [], 8: [(7,)]}


def test_a_query_is_compiled_once_for_all_of_its_values() -> None:
    blank = invoices().filter(amount=Seen("amount", IntegerField()))
    Seen.times = 0

    capped_counts("default", {n: BoundQuery(blank, {"amount": n}) for n in range(100)}, 9)

    assert Seen.times == 1


def test_many_filled_queries_take_several_statements() -> None:
    Invoice.objects.bulk_enqueue({"amount": n} for n in (449, 450, 999))
    blank = invoices().filter(amount=AMOUNT)
    queries = {n: BoundQuery(blank, {"amount": n}) for n in range(1000)}

    with CaptureQueriesContext(connections["default"]) as seen:
        found = capped_counts("default", queries, 9)

    assert (len(found), len(seen)) == (1000, 3)
    assert [n for n, number in found.items() if number] == [449, 450, 999]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({}, id="none"),
        pytest.param({"kind": "ack"}, id="another one"),
        pytest.param({"amount": 1, "kind": "ack"}, id="one too many"),
    ],
)
def test_values_that_do_not_fit_the_blanks_are_refused(values) -> None:
    blank = invoices().filter(amount=AMOUNT)

    with (
        CaptureQueriesContext(connections["default"]) as seen,
        pytest.raises(ValueError, match=r"the blanks are \['amount'\]"),
    ):
        first_rows("default", {0: BoundQuery(blank, values)}, 1)

    assert not seen.captured_queries


def test_a_blank_that_the_query_has_lost_is_missed() -> None:
    lost = invoices().annotate(asked=AMOUNT).values_list("pk")

    with pytest.raises(ValueError, match=r"the blanks are \[\]"):
        first_rows("default", {0: BoundQuery(lost, {"amount": 1})}, 1)


def test_a_blank_in_a_query_that_is_not_filled_is_refused() -> None:
    with pytest.raises(ValueError, match="amount"):
        first_rows("default", {0: invoices().filter(amount=AMOUNT)}, 1)


def test_a_query_that_no_row_can_fit_finds_nothing_whatever_the_value() -> None:
    Invoice.objects.create(amount=1)
    blanks = [invoices().filter(amount=AMOUNT, pk__in=[]), invoices().filter(amount=AMOUNT)]
    queries = {
        (n, blank is blanks[1]): BoundQuery(blank, {"amount": n})
        for n in (1, 2)
        for blank in blanks
    }

    found = first_rows("default", queries, 9)

    assert {key for key, rows in found.items() if rows} == {(1, True)}
    assert set(found) == set(queries)


@pytest.mark.parametrize(
    ("within", "expected"),
    [
        pytest.param({"amount": 1}, 1, id="some"),
        pytest.param({"amount": F("amount")}, 2, id="all"),
        pytest.param({"amount": 3}, 0, id="none"),
        pytest.param({"pk__in": []}, 0, id="none ever"),
    ],
)
def test_a_scope_may_restrict_what_is_filled(within, expected) -> None:
    recovered(amount=1)
    recovered(amount=2)
    scope = QueryScope([Invoice], {Invoice: Invoice.objects.filter(**within)})
    events = scope.events(Invoice, "default")
    reasons = events.filter(kind=KIND).order_by("pk").values_list("reason")

    last = statistics.time_buckets(Period.DAY, scope)[-1]
    tallied = capped_value_counts(
        "default", {0: BoundQuery(reasons, {"kind": EventKind.RECOVER})}, 9
    )

    assert (last.succeeded, len(last.runs)) == (expected, expected)
    assert tallied[0].total() == expected
    since = Invoice.objects.earliest("add_time").add_time
    assert (
        recovery_report.count_recoveries(since, scope).numbers.get(("recover", "worker_died"), 0)
        == expected
    )
    assert len(recovery_report.page(RecoveryFilter(scope), size=9).recoveries) == expected
