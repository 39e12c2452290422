"""Parse CSV files of orders; independent of tasks."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import TextIOWrapper
from typing import Any, BinaryIO

from django import forms

COLUMNS = ("number", "ordered_on", "customer", "article", "quantity", "unit_price")


class WrongColumns(ValueError):
    """The headings of the file are not the columns of an order."""


class OrderLine(forms.Form):
    """Validates the cells of one line, independently of the active language."""

    number = forms.RegexField(r"^[A-Z]+-\d+$", max_length=20)
    ordered_on = forms.DateField(input_formats=["%Y-%m-%d"])
    customer = forms.CharField(max_length=100)
    article = forms.CharField(max_length=100)
    quantity = forms.IntegerField(min_value=1, max_value=1_000_000)
    unit_price = forms.DecimalField(min_value=0, max_digits=10, decimal_places=2)


@dataclass(frozen=True, slots=True)
class BadLine:
    """The number of an invalid line and its problem."""

    line: int
    problem: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.problem}"

    @property
    def as_dict(self) -> dict[str, Any]:
        return {"line": self.line, "problem": self.problem}


@dataclass(slots=True)
class Content:
    """The orders of a file, as columns of the model, and its bad lines."""

    orders: list[dict[str, Any]] = field(default_factory=list)
    bad_lines: list[BadLine] = field(default_factory=list)


def read(file: BinaryIO) -> Content:
    """Parse ``file``, a CSV file in UTF-8 with headings.

    Raises WrongColumns for other headings, UnicodeDecodeError for another encoding.
    """
    content, seen = Content(), {}
    for line, cells in _lines(file):
        try:
            order = _order(cells)
            first = seen.setdefault(order["number"], line)
            if first != line:
                raise ValueError(f"number: {order['number']} is already in line {first}")
        except ValueError as problem:
            content.bad_lines.append(BadLine(line, str(problem)))
        else:
            content.orders.append(order)
    return content


def _lines(file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Yield number and cells of each line after the headings that is not empty."""
    rows = csv.reader(TextIOWrapper(file, encoding="utf-8-sig", newline=""))
    headings = tuple(cell.strip() for cell in next(rows, []))
    if headings != COLUMNS:
        raise WrongColumns(f"The columns are {', '.join(headings)}; expected {', '.join(COLUMNS)}.")
    for cells in rows:
        if any(cell.strip() for cell in cells):
            yield rows.line_num, cells


def _order(cells: list[str]) -> dict[str, Any]:
    """Return the columns of an order; raises ValueError naming each invalid cell."""
    if len(cells) != len(COLUMNS):
        raise ValueError(f"{len(cells)} cells instead of {len(COLUMNS)}")
    form = OrderLine(dict(zip(COLUMNS, cells, strict=True)))
    if not form.is_valid():
        raise ValueError(
            "; ".join(
                f"{name}: {' '.join(problems)} ({form.data[name]!r})"
                for name, problems in form.errors.items()
            )
        )
    return form.cleaned_data
