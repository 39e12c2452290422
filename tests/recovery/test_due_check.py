"""Many tasks that wait for a later time cost the search for those that are due nothing."""

from typing import Any

import pytest

from django_simpletask3.db import clock
from django_simpletask3.recovery import due_check
from django_simpletask3.states import EventKind, Status
from tests.recovery.future_tasks import (
    OVERDUE,
    SEARCHES,
    SOON,
    analyze,
    insert_future_tasks,
    rows_read,
)
from tests.steps import apply_kinds
from tests.testapp.models import Invoice, Offer

#: ``python -m benchmarks.future_tasks`` has a million.
ROWS = 20_000

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]


@pytest.mark.parametrize("is_analyzed", [False, True], ids=["new", "analyzed"])
def test_future_rows_are_not_read_to_find_those_that_are_due(
    redis_url: str, is_analyzed: bool
) -> None:
    insert_future_tasks(ROWS)
    if is_analyzed:
        analyze()
    for search in SEARCHES.values():
        search()

    read = {name: rows_read(search) for name, search in SEARCHES.items()}

    assert Invoice.objects.count() == ROWS
    assert all(number < 60 for number in read.values()), read


def test_among_future_rows_those_that_run_or_are_due_are_found(redis_url: str) -> None:
    insert_future_tasks(50)
    first = due_check.read_due_times("default", [Invoice])
    running = apply_kinds(
        Invoice.objects.create(),
        EventKind.START,
        values={"check_at": clock.after("default", 5)},
    )
    due = Invoice.objects.create(run_after=clock.after("default", -5))

    found = due_check.read_due_times("default", [Invoice])

    assert (first.running_check_at, first.pending_check_at.year) == (None, 2099)
    assert [first.is_due(s) for s in (Status.PENDING, Status.RUNNING)] == [False, False]
    assert (found.running_check_at, found.pending_check_at) == (running.check_at, due.check_at)


def test_without_redis_rows_of_the_next_hour_are_not_read_to_find_those_that_are_due(
    settings: Any,
) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "none://"
    insert_future_tasks(ROWS, SOON)
    searches = [SEARCHES[name] for name in ("due check", "start without Redis")]
    for search in searches:
        search()

    read = list(map(rows_read, searches))

    soon = clock.after("default", 3600)
    assert Invoice.objects.pending().filter(check_at__lt=soon, run_after__lt=soon).count() == ROWS
    assert all(number < 60 for number in read), read


def test_overdue_rows_are_not_read_to_find_those_that_run(redis_url: str) -> None:
    """Of a model whose tasks may expire, blocked ones are looked for, too."""
    insert_future_tasks(ROWS, OVERDUE, Offer)

    def search() -> object:
        return due_check.read_due_times("default", [Offer])

    search()
    read = rows_read(search, Offer)

    assert Offer.objects.due().count() == ROWS
    assert read < 60
