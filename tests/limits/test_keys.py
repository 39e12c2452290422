"""The keys that limits make of columns: what has none, and what cannot be made."""

from collections.abc import Callable

import pytest
from django.db.models import Value
from django.db.models.functions import Lower

from django_simpletask3.exceptions import InvalidKey
from django_simpletask3.execution.due_tasks import TriedRows, start_from_table
from django_simpletask3.limits import Limit
from django_simpletask3.limits.maintenance import serve_limits
from django_simpletask3.states import Status
from tests.limits.steps import LEASE, end, held, start, start_all, statuses, waiting
from tests.steps import create_task, row_of
from tests.testapp.models import Bill

pytestmark = pytest.mark.django_db(transaction=True)

Declare = Callable[[Limit], None]


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Declare:
    """Give bills a limit, but no unique key and no retry."""
    monkeypatch.setattr(Bill, "django_simpletask3_max_retries", 0)
    monkeypatch.setattr(Bill, "django_simpletask3_unique", None)
    return lambda limit: monkeypatch.setattr(Bill, "django_simpletask3_limit", limit)


def bills(*numbers: str | None) -> list[Bill]:
    return [create_task(Bill, number=number) for number in numbers]


def test_a_task_whose_column_is_null_is_not_limited(declare: Declare) -> None:
    declare(Limit(1, key="{number}"))
    tasks = bills(None, None, "None", "None")

    start_all(tasks)

    assert statuses(tasks) == ["RUNNING", "RUNNING", "RUNNING", "BLOCKED"]
    assert held() == [(str(tasks[2].pk), 1)]


@pytest.mark.parametrize("is_given", [True, False], ids=["given a place", "waiting"])
def test_a_task_that_has_lost_its_key_keeps_no_place(declare: Declare, is_given: bool) -> None:
    declare(Limit(1, key="{number}"))
    _first, second, third = tasks = bills("a", "a", "a")
    [run, *_] = start_all(tasks)
    if is_given:
        end(run)
    Bill.objects.filter(pk=second.pk).update(number=None)
    if not is_given:
        end(run)

    assert start(second) is not None
    serve_limits("default", None, 10.0)

    assert statuses(tasks) == ["SUCCESS", "RUNNING", "PENDING"]
    assert held() == [(str(third.pk), 1)]


def test_those_whose_column_of_fair_by_is_null_take_turns_as_one(declare: Declare) -> None:
    declare(Limit(1, fair_by="{number}"))
    first, *others = bills("a", None, None, None, "b")
    [run] = start_all([first, *others])

    end(run)

    assert waiting() == [str(others[n].pk) for n in (3, 1, 2)]
    assert row_of(others[0]).status is Status.PENDING


@pytest.mark.parametrize("option", ["key", "fair_by"])
def test_a_format_that_does_not_fit_is_an_error_of_save(declare: Declare, option: str) -> None:
    declare(Limit(1, **{option: "{number:04d}"}))

    with pytest.raises(InvalidKey, match=r"'\{number:04d\}' cannot be made of number='a': Unknown"):
        Bill(number="a").save()
    with pytest.raises(InvalidKey):
        Bill.objects.bulk_create([Bill(number=None), Bill(number="a")])

    assert not Bill.objects.exists()
    assert not Bill.event_model.objects.exists()


def test_a_format_that_does_not_fit_any_more_fails_the_task_and_not_the_others(
    declare: Declare,
) -> None:
    tasks = bills("a", None, "b")
    declare(Limit(1, key="{number:04d}"))

    runs, *_ = start_from_table(
        Bill, "default", worker="w1", lease=LEASE, limit=10, tried=TriedRows()
    )
    for run in runs:
        end(run)

    assert statuses(tasks) == ["FAILED", "SUCCESS", "FAILED"]
    assert row_of(tasks[0]).error_data["type"].endswith("InvalidKey")
    assert "cannot be made of number='a'" in row_of(tasks[0]).error_data["message"]


def test_an_expression_is_limited_when_it_has_a_value(declare: Declare) -> None:
    declare(Limit(1, key="{number}"))
    first = create_task(Bill, number=Lower(Value("A")))
    second, _ = bills("a", "b")

    start_all([row_of(first), second])

    assert statuses([first, second]) == ["RUNNING", "BLOCKED"]
