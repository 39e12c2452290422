"""Years, months and days to choose from, known by the two ends of an index."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.conf import settings
from django.utils import formats, timezone

from ...db.limited_queries import first_rows


@dataclass(frozen=True, slots=True)
class Choice:
    """A year, a month or a day, with its link; none for the one that is chosen."""

    title: str
    link: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class Drill:
    """What can be chosen, and the way back from what was chosen."""

    choices: list[Choice]
    back: Choice | None


def drill(changelist: Any, field: str) -> Drill | None:
    """The dates between the first and the last ``field``; None if no row has one.

    Unlike Django's own date hierarchy, which reads every row: a day in which nothing happened is
    offered, too.
    """
    ends = _ends(changelist, field)
    if ends is None:
        return None
    first, last = ends
    asked = [_number(changelist.params, f"{field}__{part}") for part in ("year", "month", "day")]
    year, month, day = asked
    if year is None and first.year == last.year:
        year = first.year
    if year is None:
        years = range(first.year, last.year + 1)
        return Drill([_choice(changelist, field, (one,), str(one)) for one in years], None)
    if not 1 <= year <= 9999 or month is None or not 1 <= month <= 12:
        back = Choice("…", _link(changelist, field, ())) if asked[0] is not None else None
        return Drill(_months(changelist, field, year, ends), back)
    back = Choice(str(year), _link(changelist, field, (year,)))
    if day is not None:
        back = Choice(_named(year, month), _link(changelist, field, (year, month)))
    days = _days(changelist, field, (year, month), ends)
    if day is not None:
        days = [Choice(one.title, "") for one in days if one.number == day]
    return Drill(days, back)


def _months(changelist: Any, field: str, year: int, ends: tuple[date, date]) -> list[Choice]:
    first, last = ((end.year, end.month) for end in ends)
    months = [month for month in range(1, 13) if first <= (year, month) <= last]
    return [_choice(changelist, field, (year, one), _named(year, one)) for one in months]


def _days(
    changelist: Any, field: str, month: tuple[int, int], ends: tuple[date, date]
) -> list[Choice]:
    days = (date(*month, number + 1) for number in range(calendar.monthrange(*month)[1]))
    return [
        Choice(
            formats.date_format(day, "MONTH_DAY_FORMAT"),
            _link(changelist, field, (*month, day.day)),
            day.day,
        )
        for day in days
        if ends[0] <= day <= ends[1]
    ]


def _named(year: int, month: int) -> str:
    return formats.date_format(date(year, month, 1), "YEAR_MONTH_FORMAT")


def _choice(changelist: Any, field: str, chosen: tuple[int, ...], title: str) -> Choice:
    return Choice(title, _link(changelist, field, chosen))


def _link(changelist: Any, field: str, chosen: tuple[int, ...]) -> str:
    names = ("year", "month", "day")
    values = {f"{field}__{name}": value for name, value in zip(names, chosen, strict=False)}
    return str(changelist.get_query_string(values, [f"{field}__", "p"]))


def _number(params: Any, name: str) -> int | None:
    value = params.get(name)
    value = value[0] if isinstance(value, list) and value else value
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 5 else None


def _ends(changelist: Any, field: str) -> tuple[date, date] | None:
    rows = changelist.root_queryset.filter(**{f"{field}__isnull": False})
    queries = {order: rows.order_by(order).values_list(field) for order in (field, f"-{field}")}
    found = first_rows(rows.db, queries, 1)
    if not all(found.values()):
        return None
    first, last = (_day(found[order][0][0]) for order in queries)
    return first, last


def _day(moment: Any) -> date:
    local = timezone.localtime(moment) if settings.USE_TZ else moment
    return local.date()
