"""Values of columns as PostgreSQL reads them from JSON."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from itertools import repeat
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connections, models

from ...conf.priorities import PRIORITIES
from ...ledger.fields import (
    AddTimeField,
    JSONTextField,
    KindField,
    ModTimeField,
    PriorityField,
    StatusField,
)
from ...states import EventKind, Status

Serializer = Callable[[Any], Any]

#: Rows in one statement: its parameters are held in memory, twice.
MAX_ROWS = 1000

#: Classes of fields, and the types of Python that JSON holds just as they are.
_NATIVE_TYPES: dict[type, frozenset[type]] = {
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
_TIME_FIELDS = (models.DateTimeField, AddTimeField, ModTimeField)
_RELATION_FIELDS = (models.ForeignKey, models.OneToOneField)
#: Classes of fields all of whose values JSON can hold.
_JSON_SAFE_FIELDS = frozenset(
    {
        *_NATIVE_TYPES,
        *_TIME_FIELDS,
        JSONTextField,
        models.DateField,
        models.DecimalField,
        models.EmailField,
        models.FloatField,
        models.JSONField,
        models.PositiveBigIntegerField,
        PriorityField,
        models.PositiveSmallIntegerField,
        models.SlugField,
        models.TimeField,
        models.URLField,
        models.UUIDField,
    }
)


class NotSerializable(TypeError):
    """A value that only Django can adapt: an expression, a type of an extension."""


def is_json_safe(field: Any) -> bool:
    """Whether JSON can hold all values of ``field``, except expressions."""
    if type(field) in _RELATION_FIELDS:
        return is_json_safe(field.target_field)
    return type(field) in _JSON_SAFE_FIELDS


def needs_django(field: object, value: object) -> bool:
    """Whether SQL needs more than the value: an expression, or a placeholder of the field."""
    names = ("get_placeholder", "get_placeholder_sql")  # before Django 6.1, and since
    return hasattr(value, "resolve_expression") or any(hasattr(field, name) for name in names)


def serializer_for(field: Any, using: str) -> Serializer:
    """A function that turns values of ``field`` into JSON; it raises NotSerializable for some."""
    serialize_with_django = _django_serializer(field, using)
    kind = type(field)
    if kind in _NATIVE_TYPES:
        types = _NATIVE_TYPES[kind]
        return lambda value: (
            value if value is None or type(value) in types else serialize_with_django(value)
        )
    if kind is PriorityField:
        return lambda value: (
            value if type(value) is int and value in PRIORITIES else serialize_with_django(value)
        )
    if kind in _TIME_FIELDS:
        return lambda value: (
            _format_utc_time(value)
            if type(value) is datetime and value.tzinfo is UTC
            else _format_other_time(value, serialize_with_django)
        )
    if kind is models.UUIDField:
        return lambda value: str(value) if type(value) is UUID else serialize_with_django(value)
    if kind is JSONTextField:
        return lambda value: _serialize_plain(field.get_prep_value(value))
    if kind in _RELATION_FIELDS:
        return serializer_for(field.target_field, using)
    if kind is models.JSONField:  # of others, they know what they write
        return lambda value: _serialize_json(field, value)
    return serialize_with_django


def _django_serializer(field: Any, using: str) -> Serializer:
    is_json_column = field.db_type(connections[using]) in ("json", "jsonb")

    def serialize(value: Any) -> Any:
        if needs_django(field, value):
            raise NotSerializable
        serialized = _serialize_plain(field.get_db_prep_save(value, connections[using]))
        if serialized is not None and is_json_column:
            raise NotSerializable  # a text is JSON already, or a JSON string: only Django knows
        return serialized

    return serialize


#: A batch repeats few times. Those of other zones are not kept: two that are equal may not be the
#: same (an hour that comes twice).
_format_utc_time: Callable[[datetime], str] = lru_cache(maxsize=100)(datetime.isoformat)


def _format_other_time(value: Any, serialize_with_django: Serializer) -> Any:
    is_aware = type(value) is datetime and value.tzinfo is not None
    return (
        value.isoformat() if is_aware else None if value is None else serialize_with_django(value)
    )


def _serialize_json(field: models.JSONField[Any, Any], value: Any) -> Any:
    if value is None or hasattr(value, "resolve_expression"):
        return _serialize_plain(value)
    return json.loads(json.dumps(value, cls=field.encoder))


def _serialize_plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID | Decimal):
        return str(value)
    raise NotSerializable


_VARYING_SOURCE = "SELECT {names} FROM json_to_recordset(%s::json) AS varying({varying})"


_VARYING_AND_CONSTANT_SOURCE = (
    _VARYING_SOURCE + ", json_to_record(%s::json) AS constant({constant})"
)


class Column(NamedTuple):
    """A column of a recordset: its alias in SQL, the key in each row, type and serializer.

    Unless it ``is_deterministic``, the serializer may yield another text for an equal value.
    """

    alias: str
    name: str
    type: str
    serialize: Serializer
    is_deterministic: bool = True


class Recordset(NamedTuple):
    """Rows for a statement: the SELECT that yields them, and its parameters."""

    source: str
    parameters: list[str]

    def into(self, statement: str) -> str:
        """``statement`` with the SELECT in the place of ``{params}``."""
        return statement.replace("{params}", self.source)


RowGroup = tuple[Sequence[Column], Sequence[Mapping[str, Any]]]


def recordset(*groups: RowGroup) -> Recordset:
    """Encode rows, given as groups of columns side by side, for ``json_to_recordset``.

    A column whose value is the same object in every row is sent once; so are columns with the same
    values, as the digests of rows and events. That takes a third of the time. Raises
    NotSerializable for a value that only Django can adapt.
    """
    constant: dict[str, Any] = {}
    varying: dict[str, list[Any]] = {}
    aliases: dict[str, list[str]] = {}  # of the varying columns of each type
    outputs: list[tuple[str, str, str]] = []
    for columns, rows in groups:
        for alias, name, kind, serialize, is_deterministic in columns:
            values = [row[name] for row in rows]
            # One column varies in any case: it makes the rows.
            if varying and is_deterministic and _are_same(values, repeat(values[0])):
                constant[alias] = serialize(values[0])
                outputs.append((alias, kind, f"constant.{alias}"))
                continue
            serialized = list(map(serialize, values))
            equal = (a for a in aliases.get(kind, ()) if _are_same(varying[a], serialized))
            first = next(equal, alias)
            if first == alias:
                varying[alias] = serialized
                aliases.setdefault(kind, []).append(alias)
            outputs.append((alias, kind, f"varying.{first}"))
    rows = [dict(zip(varying, row, strict=True)) for row in zip(*varying.values(), strict=True)]
    parameters = [json.dumps(value, allow_nan=False) for value in (rows, constant) if value]
    return Recordset(_source(tuple(outputs)), parameters)


def _are_same(values: Iterable[object], others: Iterable[object]) -> bool:
    return all(map(operator.is_, values, others))


@lru_cache(maxsize=1000)
def _source(outputs: tuple[tuple[str, str, str], ...]) -> str:
    def columns_of(table: str) -> str:
        own = [(alias, kind) for alias, kind, source in outputs if source == f"{table}.{alias}"]
        return ", ".join(f"{alias} {kind}" for alias, kind in own)

    varying, constant = columns_of("varying"), columns_of("constant")
    return (_VARYING_AND_CONSTANT_SOURCE if constant else _VARYING_SOURCE).format(
        names=", ".join(f"{source} AS {alias}" for alias, _, source in outputs),
        varying=varying,
        constant=constant,
    )
