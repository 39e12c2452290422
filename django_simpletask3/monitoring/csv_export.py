"""Write tables as comma-separated values; a spreadsheet takes no cell for a formula."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable, Iterator

from ..logs import printable

_LINE_BREAKS = "\t\n\r"
#: A spreadsheet takes a cell that begins with one of these for a formula. It normalizes full-width
#: signs, and skips spaces and invisible characters before them.
_FORMULA_SIGNS = frozenset("=+-@−")


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
    shown = printable(text, keep=_LINE_BREAKS)
    return f"'{shown}" if _is_formula(text) else shown


def _is_formula(text: str) -> bool:
    if text.startswith(tuple(_LINE_BREAKS)):
        return True
    visible = (c for c in text if unicodedata.category(c)[0] not in "CZM")
    normal = unicodedata.normalize("NFKC", next(visible, ""))
    return not _FORMULA_SIGNS.isdisjoint(normal[:1])
