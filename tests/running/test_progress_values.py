"""Which numbers, and which totals, ``progress()`` and ``track()`` take; without a database."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from django_simpletask3.exceptions import NotInTaskFunction
from django_simpletask3.running.progress import Progress, checked, known_length
from tests.testapp.models import Customer, Invoice


@pytest.mark.parametrize(
    ("done", "total"),
    [
        pytest.param(0, 0, id="nothing to do"),
        pytest.param(1, None, id="unknown total"),
        pytest.param(5, 4, id="more than estimated"),
        pytest.param(0.5, 2, id="float"),
        pytest.param(Decimal("0.5"), Fraction(2), id="decimal"),
        pytest.param(2**53 - 1, 2**53 - 1, id="large"),
    ],
)
def test_numbers_are_kept(done: Any, total: Any) -> None:
    data = checked(done, total, "").as_data()

    assert data == {"done": done, **({} if total is None else {"total": total})}
    assert {type(number) for number in data.values()} <= {int, float}


@pytest.mark.parametrize(
    "number",
    [-1, True, "3", float("nan"), float("inf"), Decimal("sNaN"), 2**53, 10**400],
    ids=lambda number: repr(number)[:20],
)
@pytest.mark.parametrize("name", ["done", "total"])
def test_what_is_no_number_is_refused(name: str, number: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} is .*; expected a number of at least 0,"):
        checked(**{"done": 1, "total": None, "message": "", name: number})


def test_a_message_is_text_that_every_database_holds() -> None:
    text = checked(1, None, "\x00 \ud800" + "ä" * 1000).message

    assert (text[:11], len(text)) == ("\\x00 \\ud800", 255)
    assert checked(1, None, None) == Progress(1)


@pytest.mark.parametrize(
    ("rows", "total"),
    [
        pytest.param(lambda: [1, 2], 2, id="list"),
        pytest.param(lambda: {1: 2}, 1, id="dict"),
        pytest.param(lambda: range(0), 0, id="empty"),
        pytest.param(lambda: iter([1, 2]), None, id="iterator"),
        pytest.param(Customer.objects.all, None, id="queryset"),
        pytest.param(lambda: Customer.objects.raw("SELECT 1"), None, id="raw"),
        pytest.param(lambda: read(Customer.objects.all()), 1, id="queryset that was read"),
    ],
)
def test_a_total_is_known_without_a_query_or_not_at_all(
    rows: Callable[[], Any], total: int | None
) -> None:
    assert known_length(rows()) == total


def read(queryset: Any) -> Any:
    queryset._result_cache = [Customer()]
    return queryset


@pytest.mark.parametrize("method", ["progress", "track", "atrack"])
def test_outside_of_a_task_function_there_is_no_progress(method: str) -> None:
    with pytest.raises(NotInTaskFunction, match=f"^{method}.. of testapp.Invoice"):
        getattr(Invoice(pk=1), method)([])
