"""Tables of text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..logs import printable


def align(header: list[str], rows: Iterable[list[object]]) -> Iterator[str]:
    """The lines of a table: the first column to the left, the others to the right."""
    cells = ([("-" if cell is None else printable(str(cell))) for cell in row] for row in rows)
    table = [header, *cells]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for first, *others in table:
        aligned = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join((first.ljust(widths[0]), *aligned)).rstrip()
