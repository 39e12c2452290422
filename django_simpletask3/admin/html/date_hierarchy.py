"""A date hierarchy that reads only the two ends of an index."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.conf import settings
from django.contrib.admin.views.main import ChangeList
from django.utils import formats, timezone

from ...db.limited_queries import first_rows


@dataclass(frozen=True, slots=True)
class Choice:
    """A year, a month or a day, with its link; the chosen day has none."""

    title: str
    link: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class Drilldown:
    """The available choices, and the link back from the current one."""

    choices: list[Choice]
    back: Choice | None


def drilldown(changelist: ChangeList, field: str) -> Drilldown | None:
    """The dates between the first and the last ``field``; None if no row has one.

    Django's own date hierarchy reads every row; this one also offers days without any.
    """
    date_range = _date_range(changelist, field)
    if date_range is None:
        return None
    first, last = date_range
    selected = [_parse_number(changelist.params, f"{field}__{p}") for p in ("year", "month", "day")]
    year, month, day = selected
    if year is None and first.year == last.year:
        year = first.year
    if year is None:
        years = range(first.year, last.year + 1)
        return Drilldown([_choice(changelist, field, (n,), str(n)) for n in years], None)
    if not 1 <= year <= 9999 or month is None or not 1 <= month <= 12:
        back = Choice("…", _link(changelist, field, ())) if selected[0] is not None else None
        return Drilldown(_months(changelist, field, year, date_range), back)
    back = Choice(str(year), _link(changelist, field, (year,)))
    if day is not None:
        back = Choice(_month_title(year, month), _link(changelist, field, (year, month)))
    days = _days(changelist, field, (year, month), date_range)
    if day is not None:
        days = [Choice(choice.title, "") for choice in days if choice.number == day]
    return Drilldown(days, back)


def _months(
    changelist: ChangeList, field: str, year: int, date_range: tuple[date, date]
) -> list[Choice]:
    first, last = ((end.year, end.month) for end in date_range)
    months = [month for month in range(1, 13) if first <= (year, month) <= last]
    return [_choice(changelist, field, (year, m), _month_title(year, m)) for m in months]


def _days(
    changelist: ChangeList, field: str, month: tuple[int, int], date_range: tuple[date, date]
) -> list[Choice]:
    days = (date(*month, number + 1) for number in range(calendar.monthrange(*month)[1]))
    return [
        Choice(
            formats.date_format(day, "MONTH_DAY_FORMAT"),
            _link(changelist, field, (*month, day.day)),
            day.day,
        )
        for day in days
        if date_range[0] <= day <= date_range[1]
    ]


def _month_title(year: int, month: int) -> str:
    return formats.date_format(date(year, month, 1), "YEAR_MONTH_FORMAT")


def _choice(changelist: ChangeList, field: str, parts: tuple[int, ...], title: str) -> Choice:
    return Choice(title, _link(changelist, field, parts))


def _link(changelist: ChangeList, field: str, parts: tuple[int, ...]) -> str:
    names = ("year", "month", "day")
    values = {f"{field}__{name}": value for name, value in zip(names, parts, strict=False)}
    return str(changelist.get_query_string(values, [f"{field}__", "p"]))


def _parse_number(params: Any, name: str) -> int | None:
    value = params.get(name)
    value = value[0] if isinstance(value, list) and value else value
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 5 else None


def _date_range(changelist: ChangeList, field: str) -> tuple[date, date] | None:
    rows = changelist.root_queryset.filter(**{f"{field}__isnull": False})
    queries = {order: rows.order_by(order).values_list(field) for order in (field, f"-{field}")}
    rows_by_order = first_rows(rows.db, queries, 1)
    if not all(rows_by_order.values()):
        return None
    first, last = (_local_date(rows_by_order[order][0][0]) for order in queries)
    return first, last


def _local_date(instant: datetime) -> date:
    local = timezone.localtime(instant) if settings.USE_TZ else instant
    return local.date()
