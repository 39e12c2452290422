"""Values of columns as PostgreSQL reads them out of a text of JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connections, models
from model_utils.fields import AutoCreatedField, AutoLastModifiedField

from ...ledger.fields import JSONTextField, KindField, StatusField
from ...states import EventKind, Status

Speaker = Callable[[Any], Any]

#: Columns of Django's own classes, and the types of Python that JSON says just as they are.
_AS_IT_IS: dict[type, frozenset[type]] = {
    **dict.fromkeys(
        (
            models.AutoField,
            models.BigAutoField,
            models.IntegerField,
            models.BigIntegerField,
            models.SmallIntegerField,
            models.PositiveIntegerField,
            StatusField,
        ),
        frozenset({int, Status}),
    ),
    models.CharField: frozenset({str}),
    models.TextField: frozenset({str}),
    models.BooleanField: frozenset({bool}),
    KindField: frozenset({str, EventKind}),
}
_MOMENTS = (models.DateTimeField, AutoCreatedField, AutoLastModifiedField)
_REFERENCES = (models.ForeignKey, models.OneToOneField)
#: Django's own classes all of whose values JSON says, in some words.
_PLAIN = frozenset(
    {
        *_AS_IT_IS,
        *_MOMENTS,
        JSONTextField,
        models.DateField,
        models.DecimalField,
        models.EmailField,
        models.FloatField,
        models.JSONField,
        models.PositiveBigIntegerField,
        models.PositiveSmallIntegerField,
        models.SlugField,
        models.TimeField,
        models.URLField,
        models.UUIDField,
    }
)


class Unspeakable(TypeError):
    """A value that only Django knows to say: an expression, a type of an extension."""


def is_plain(field: Any) -> bool:
    """Whether what ``field`` holds can be said, if it is no expression; of classes that we know."""
    if type(field) in _REFERENCES:
        return is_plain(field.target_field)
    return type(field) in _PLAIN


def is_put_by_django(field: Any, value: Any) -> bool:
    """Whether more than a value stands in SQL: an expression, or what the field puts around it."""
    names = ("get_placeholder", "get_placeholder_sql")  # before Django 6.1, and since
    return hasattr(value, "resolve_expression") or any(hasattr(field, name) for name in names)


def speaker(field: Any, using: str) -> Speaker:
    """What turns values of ``field`` into words of JSON; it raises Unspeakable for some."""

    def thorough(value: Any) -> Any:
        if is_put_by_django(field, value):
            raise Unspeakable
        return _plain(field.get_db_prep_save(value, connections[using]))

    kind = type(field)
    if kind in _AS_IT_IS:
        types = _AS_IT_IS[kind]
        return lambda value: value if value is None or type(value) in types else thorough(value)
    if kind in _MOMENTS:
        return lambda value: (
            None if value is None else _instant(value) if _is_aware(value) else thorough(value)
        )
    if kind is JSONTextField:
        return lambda value: _plain(field.get_prep_value(value))
    if kind in _REFERENCES:
        return speaker(field.target_field, using)
    if kind is models.JSONField:  # of others, they know what they write
        return lambda value: _json(field, value)
    return thorough


def _is_aware(value: Any) -> bool:
    return type(value) is datetime and value.tzinfo is not None


def _instant(value: datetime) -> str:
    # Elsewhere than in UTC two that are equal may not be the same (an hour that comes twice).
    return _in_utc(value) if value.tzinfo is UTC else value.isoformat()


@lru_cache(maxsize=100)
def _in_utc(value: datetime) -> str:
    """A moment of UTC: those of a batch are said again and again."""
    return value.isoformat()


def _json(field: models.JSONField[Any, Any], value: Any) -> Any:
    if value is None or hasattr(value, "resolve_expression"):
        return _plain(value)
    return json.loads(json.dumps(value, cls=field.encoder))


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID | Decimal):
        return str(value)
    raise Unspeakable


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
