"""The texts that templates make of the columns of tasks: for unique keys, and for limits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from enum import Enum
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from ..conf.column_template import ColumnTemplate
from ..exceptions import InvalidKey
from ..ledger.task_row import TaskRow, task_name

#: The columns in a template, by their names there.
Fields = Mapping[str, "models.Field[Any, Any]"]

#: Of the most frequent columns, the type of the values that the database returns as they are.
_STORED_AS_IT_IS: Mapping[type, type] = {
    models.CharField: str,
    models.TextField: str,
    models.SlugField: str,
    models.IntegerField: int,
    models.BigIntegerField: int,
}


@lru_cache(maxsize=1000)
def fields_in(model: Any, template: ColumnTemplate) -> Fields:
    """The columns of ``model`` that ``template`` names."""
    return {name: model._meta.get_field(name) for name in template.names}


def key_of_task(task: TaskRow, template: ColumnTemplate, fields: Fields) -> str | None:
    """``template`` filled in with the columns of ``task``; None if one of them is None.

    Raises InvalidKey if one is an expression, or if a format does not fit its value.
    """
    values = {}
    for field in fields.values():
        values[field.attname] = value = getattr(task, field.attname)
        if hasattr(value, "resolve_expression"):
            raise InvalidKey(
                f"{field.attname} of {task_name(task)} is an expression: the key "
                f"{template.text!r} needs its value.",
                pk=task.pk,
            )
    return key_of_values(type(task), template, fields, values)


def key_of_values(
    model: type[TaskRow], template: ColumnTemplate, fields: Fields, values: Mapping[str, Any]
) -> str | None:
    """``template`` filled in with these columns of a task of ``model``, as the database has them.

    None if one is None. Raises InvalidKey if a format does not fit its value.
    """
    try:
        return template.fill_in(
            {name: _normalize(field, values[field.attname]) for name, field in fields.items()}
        )
    except Exception as error:
        shown = ", ".join(f"{f.attname}={values[f.attname]!r}" for f in fields.values())
        raise InvalidKey(
            f"{model._meta.label}: the key {template.text!r} cannot be made of {shown}: {error}"
        ) from error


def _normalize(field: Any, value: Any) -> Any:
    """``value`` as the database returns it: a reset computes the same key."""
    if type(value) is _STORED_AS_IT_IS.get(type(field)):
        return value
    if isinstance(value, Enum):
        value = value.value
    value = field.to_python(value)
    if isinstance(value, Decimal) and isinstance(field, models.DecimalField):
        return _rounded(value, field)
    if isinstance(value, datetime):
        return _as_stored(value)
    if isinstance(value, float) and not value:
        return 0.0  # some databases have no negative zero
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(field, models.JSONField) and isinstance(value, dict | list | tuple | float):
        return _ordered(field, value)
    return value


def _as_stored(value: datetime) -> datetime:
    """``value`` in UTC; without a zone, it is in the default zone, as Django saves it.

    If Django stores local times (USE_TZ is False), it has no zone.
    """
    default = timezone.get_default_timezone()
    if settings.USE_TZ:
        aware = value if timezone.is_aware(value) else timezone.make_aware(value, default)
        return aware.astimezone(UTC)
    return timezone.make_naive(value, default) if timezone.is_aware(value) else value


def _rounded(value: Decimal, field: Any) -> Decimal:
    """``value`` with the decimal places of ``field``.

    Raises ValueError if it is just between two: the databases do not round it alike.
    """
    if field.decimal_places is None:  # Django 6.1
        return value.normalize()
    places = Decimal(1).scaleb(-field.decimal_places)
    rounded = value.quantize(places, context=field.context)
    if rounded != value.quantize(places, ROUND_HALF_UP, field.context):
        raise ValueError(f"{value} has more decimal places than its column")
    return rounded or abs(rounded)  # as the databases return a negative zero


def _ordered(field: Any, value: Any) -> Any:
    """``value`` of a JSON column with the names of each object in order.

    PostgreSQL has an order of its own, and returns the number 1e16 with all its digits.
    """
    plain = json.loads(json.dumps(value, cls=field.encoder), parse_float=_number)
    return json.loads(json.dumps(plain, sort_keys=True), cls=field.decoder)


def _number(text: str) -> int | float:
    number = Decimal(text)
    return int(number) if number == number.to_integral_value() else float(text)
