"""Many rows in words of JSON, as PostgreSQL is told of them: what all say alike is said once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from .spoken import Speaker

_ALL_DIFFER = "SELECT {names} FROM json_to_recordset(%s::json) AS each({each})"
_SOME_ALIKE = _ALL_DIFFER + ", json_to_record(%s::json) AS alike({alike})"


class Column(NamedTuple):
    """A value of each row: what a statement calls it, its name and type, and who says it.

    If ``is_plain``, equal values are said in equal words; others may add something each time.
    """

    word: str
    name: str
    type: str
    say: Speaker
    is_plain: bool = True


class Telling(NamedTuple):
    """Rows for a statement: the SELECT that has them, and what its ``%s`` are told."""

    source: str
    texts: list[str]

    def put_into(self, statement: str) -> str:
        """``statement`` with the rows in the place of ``{told}``."""
        return statement.replace("{told}", self.source)


Part = tuple[Sequence[Column], Sequence[Mapping[str, Any]]]


def telling(*parts: Part) -> Telling:
    """The rows that have these parts, side by side; raises Unspeakable if one cannot be said.

    What stands in all rows, the very same object, is said once; so are columns that say the same
    of each row, as a row and its event do of their digest. Rows get so short that to write and to
    read them takes a third of the time.
    """
    alike: dict[str, Any] = {}
    each: dict[str, list[Any]] = {}
    known: dict[tuple[Any, ...], str] = {}
    places: list[tuple[str, str, str]] = []
    for columns, rows in parts:
        for word, name, kind, say, is_plain in columns:
            values = [row[name] for row in rows]
            # The first column is said of each row in any case.
            if each and is_plain and len(set(map(id, values))) == 1:
                alike[word] = say(values[0])
                places.append((word, kind, f"alike.{word}"))
                continue
            said = list(map(say, values))
            first = known.setdefault((kind, *map(id, said)), word)
            if first == word:
                each[word] = said
            places.append((word, kind, f"each.{first}"))
    rows = [dict(zip(each, row, strict=True)) for row in zip(*each.values(), strict=True)]
    texts = [json.dumps(told, allow_nan=False) for told in (rows, alike) if told]
    return Telling(_source(tuple(places)), texts)


@lru_cache(maxsize=1000)
def _source(places: tuple[tuple[str, str, str], ...]) -> str:
    each = [f"{word} {kind}" for word, kind, place in places if place == f"each.{word}"]
    alike = [f"{word} {kind}" for word, kind, place in places if place == f"alike.{word}"]
    return (_SOME_ALIKE if alike else _ALL_DIFFER).format(
        names=", ".join(f"{place} AS {word}" for word, _, place in places),
        each=", ".join(each),
        alike=", ".join(alike),
    )
