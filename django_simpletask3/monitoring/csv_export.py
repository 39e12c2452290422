"""Tables as comma-separated values that a spreadsheet shows and does not calculate."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import Any

_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")


def lines(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """The lines of a file, one by one: the head, then the rows; moments as ISO 8601."""
    writer = csv.writer(_Echo())
    yield writer.writerow(list(header))
    for row in rows:
        yield writer.writerow([_cell(value) for value in row])


class _Echo:
    """Gives back what a writer writes."""

    def write(self, line: str) -> str:
        return line


def _cell(value: Any) -> str:
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    # A spreadsheet would calculate what begins so.
    return f"'{text}" if text.startswith(_FORMULA_PREFIXES) else text
