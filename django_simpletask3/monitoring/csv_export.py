"""Write tables as comma-separated values; a spreadsheet takes no cell for a formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator

_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")


def lines(header: Iterable[object], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """Yield the lines of a file: ``header``, then ``rows``; dates and times in ISO 8601."""
    writer = csv.writer(_Echo())
    yield writer.writerow(list(header))
    for row in rows:
        yield writer.writerow([_cell(value) for value in row])


class _Echo:
    """A file whose ``write`` returns the line, so that the CSV writer returns it, too."""

    def write(self, line: str) -> str:
        return line


def _cell(value: object) -> str:
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    # A spreadsheet takes a cell that begins with one of these for a formula.
    return f"'{text}" if text.startswith(_FORMULA_PREFIXES) else text
