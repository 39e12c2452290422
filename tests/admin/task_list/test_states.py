"""The numbers of the states never read a large backlog."""

from datetime import timedelta

import pytest
from django.db.models import QuerySet
from django.utils import timezone

from django_simpletask3.admin.html.pills import State
from django_simpletask3.admin.task_list import states
from tests.steps import bring_to
from tests.testapp.models import Invoice


@pytest.mark.parametrize(
    ("due", "later", "shown"),
    [
        (1, 2, {"waiting": "1", "scheduled": "2"}),
        (1, 4, {"waiting": "1", "scheduled": "2+"}),
        (4, 1, {"waiting": "3+", "scheduled": ""}),
    ],
)
def test_what_was_not_counted_is_not_claimed(db, due, later, shown) -> None:
    next_year = timezone.now() + timedelta(days=365)
    Invoice.objects.bulk_enqueue({"amount": n} for n in range(due))
    Invoice.objects.bulk_enqueue({"run_after": next_year} for _ in range(later))

    counts = states.count_rows(QuerySet(Invoice), timezone.now(), 3)

    assert {name: str(counts[State(name)]) for name in shown} == shown


def test_counting_rows_and_counting_their_table_agree(db) -> None:
    for status in Invoice.STATUS:
        bring_to(Invoice.objects.create(), status[0])
    Invoice.objects.create(run_after=timezone.now() + timedelta(days=365))
    now = timezone.now() + timedelta(seconds=1)

    counts = states.count_rows(QuerySet(Invoice), now, 10)

    assert counts == states.count_tasks(Invoice.objects.all(), now)


def test_large_numbers_are_grouped() -> None:
    assert str(states.Count(18412)) == "18,412"
