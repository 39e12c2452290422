"""Values of columns as PostgreSQL reads them out of a text of JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db import connections, models
from model_utils.fields import AutoCreatedField, AutoLastModifiedField

from .fields import JSONTextField, KindField, StatusField
from .states import EventKind, Status

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
