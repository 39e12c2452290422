"""Columns of a task and of its events; in a migration they are Django's own classes."""

from __future__ import annotations

import numbers
from copy import copy
from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.lookups import Exact, In
from django.utils.translation import gettext_lazy as _
from model_utils import Choices
from model_utils.fields import AutoCreatedField, AutoLastModifiedField

from ..conf.options import options
from ..conf.priorities import PRIORITIES
from ..conf.time_source import machine_now, time_of_test
from ..states import EventKind, Status
from .encoding import TAG, decode, encode

#: Characters in a column of names or of a reason; a longer reason is cut.
MAX_TEXT = 255
_FIXTURE_PREFIX = f"{TAG}:"

STATUS = Choices(
    (Status.PENDING, "PENDING", _("Waiting")),
    (Status.BLOCKED, "BLOCKED", _("Blocked")),
    (Status.RUNNING, "RUNNING", _("Running")),
    (Status.SUCCESS, "SUCCESS", _("Succeeded")),
    (Status.FAILED, "FAILED", _("Failed")),
    (Status.CANCELED, "CANCELED", _("Canceled")),
)

KIND = Choices(
    (EventKind.ENQUEUE, "ENQUEUE", _("enqueued")),
    (EventKind.START, "START", _("started")),
    (EventKind.ACK, "ACK", _("succeeded")),
    (EventKind.FAIL, "FAIL", _("failed")),
    (EventKind.RETRY, "RETRY", _("failed, retries")),
    (EventKind.SNOOZE, "SNOOZE", _("snoozed")),
    (EventKind.RECOVER, "RECOVER", _("recovered")),
    (EventKind.DROP, "DROP", _("given up")),
    (EventKind.RELEASE, "RELEASE", _("handed back")),
    (EventKind.BLOCK, "BLOCK", _("blocked")),
    (EventKind.UNBLOCK, "UNBLOCK", _("unblocked")),
    (EventKind.CANCEL, "CANCEL", _("canceled")),
    (EventKind.EXPIRE, "EXPIRE", _("expired")),
    (EventKind.RESET, "RESET", _("reset")),
    (EventKind.REJECT, "REJECT", _("late result refused")),
    (EventKind.NOTE, "NOTE", _("note")),
    (EventKind.CHECKPOINT, "CHECKPOINT", _("checkpoint")),
    (EventKind.HOLD, "HOLD", _("put on hold")),
    (EventKind.LIFT, "LIFT", _("hold lifted")),
    (EventKind.ERASE, "ERASE", _("erased")),
    (EventKind.DELETE, "DELETE", _("deleted")),
)


class _MigratesAs:
    """A field whose migrations name a class of Django, without choices.

    A user's migrations so never import this package, and a state added later changes none of them.
    """

    migrates_as: str

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()  # type: ignore[misc]
        kwargs.pop("choices", None)
        return name, self.migrates_as, args, kwargs


class StatusField(_MigratesAs, models.IntegerField):  # type: ignore[type-arg]
    """A Status; a number that this version does not know stays a number."""

    migrates_as = "django.db.models.IntegerField"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["choices"] = STATUS
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        if "default" in kwargs:
            kwargs["default"] = int(kwargs["default"])
        return name, path, args, kwargs

    def from_db_value(self, value: Any, *_: Any) -> Any:
        return _STATUSES.get(value, value)

    def to_python(self, value: Any) -> Any:
        try:
            return None if value is None else Status(int(value))
        except ValueError:
            return super().to_python(value)


#: By the numbers that are stored.
_STATUSES = {int(status): status for status in Status}


@StatusField.register_lookup
class WithoutIndex(Exact):
    """As ``exact``, but no planner uses an index of the column for it."""

    lookup_name = "without_index"

    def process_lhs(self, compiler: Any, connection: Any, lhs: Any = None) -> Any:
        sql, params = super().process_lhs(compiler, connection, lhs)
        return f"({sql} + 0)", params

    def get_rhs_op(self, connection: Any, rhs: str) -> str:
        return f"= {rhs}"


@StatusField.register_lookup
class ByIndex(Exact):
    """As ``exact``, but as a range on SQLite.

    Once SQLite has counted the rows of a status, it reads the whole table for an equality.
    """

    lookup_name = "by_index"

    def get_rhs_op(self, connection: Any, rhs: str) -> str:
        return f"= {rhs}"

    def as_sqlite(self, compiler: Any, connection: Any) -> Any:
        column, params = self.process_lhs(compiler, connection)
        value, value_params = self.process_rhs(compiler, connection)
        return f"{column} BETWEEN {value} AND {value}", [*params, *value_params, *value_params]


class IsTimed(models.Func):
    """A column of times ``IS NOT NULL``, as the beginning of a range on PostgreSQL.

    Without statistics it expects far fewer rows of a range with two ends than of one with an end
    only, and uses the index (test_future_rows_are_not_read_to_find_those_that_are_due).
    """

    template = "(%(expressions)s IS NOT NULL)"
    output_field = models.BooleanField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        range_of_all = "(%(expressions)s >= '-infinity')"
        return self.as_sql(compiler, connection, template=range_of_all, **context)


class PriorityField(_MigratesAs, models.SmallIntegerField):  # type: ignore[type-arg]
    """A priority from -100 to 100. Others are errors of forms, and raise ValueError when saved."""

    migrates_as = "django.db.models.SmallIntegerField"
    default_validators = [
        MinValueValidator(PRIORITIES.start),
        MaxValueValidator(PRIORITIES.stop - 1),
    ]

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        if hasattr(value, "resolve_expression"):
            return super().get_db_prep_save(value, connection)
        # Django saves the whole part of a float, and True as 1.
        is_whole = type(value) is not bool and isinstance(value, numbers.Integral | str)
        if is_whole and (number := self.get_prep_value(value)) in PRIORITIES:
            return number
        raise ValueError(f"priority is {value}: expected a whole number from -100 to 100.")


class AddTimeField(_MigratesAs, AutoCreatedField):
    """When the instance was made."""

    migrates_as = "model_utils.fields.AutoCreatedField"

    def get_default(self) -> Any:
        return machine_now()


class ModTimeField(_MigratesAs, AutoLastModifiedField):
    """When the row was saved for the last time."""

    migrates_as = "model_utils.fields.AutoLastModifiedField"

    def pre_save(self, model_instance: Any, add: bool) -> Any:
        value = super().pre_save(model_instance, add)
        if not add and time_of_test() is not None:
            model_instance.mod_time = value = machine_now()
        return value


class KindField(_MigratesAs, models.CharField):  # type: ignore[type-arg]
    """An EventKind; a word that this version does not know stays a word."""

    migrates_as = "django.db.models.CharField"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["choices"] = KIND
        super().__init__(*args, **kwargs)

    def from_db_value(self, value: Any, *_: Any) -> Any:
        return self.to_python(value)

    def to_python(self, value: Any) -> Any:
        try:
            return EventKind(value)
        except ValueError:
            return value


class KeyField(_MigratesAs, models.CharField):  # type: ignore[type-arg]
    """The key of a task as text: a lookup tells ``Ada`` from ``ada`` on every database."""

    migrates_as = "django.db.models.CharField"


class _ExactText(models.Func):
    """A text of MySQL or MariaDB that is compared byte by byte, whatever its collation is."""

    template = "CONVERT(%(expressions)s USING utf8mb4) COLLATE utf8mb4_bin"
    output_field = models.CharField()


class _ComparesExactly:
    """A lookup for which case counts, too, where the collation of the column ignores it."""

    lhs: Any

    def as_mysql(self, compiler: Any, connection: Any) -> Any:
        found, params = self.as_sql(compiler, connection)  # type: ignore[attr-defined] # by an index
        exact: Any = copy(self)
        exact.lhs = _ExactText(self.lhs)
        sql, exact_params = exact.as_sql(compiler, connection)
        return f"({found} AND {sql})", [*params, *exact_params]


@KeyField.register_lookup
class KeyExact(_ComparesExactly, Exact):
    """``exact`` of a key."""


@KeyField.register_lookup
class KeyIn(_ComparesExactly, In):
    """``in`` of a key."""


class JSONTextField(_MigratesAs, models.TextField):  # type: ignore[type-arg]
    """Any value, as JSON text: the same bytes in every database, whatever the value.

    Databases' own JSON types refuse NUL and lone surrogates and rewrite numbers; a result must
    never be lost to that, and its digest must still fit when it is read back.
    """

    migrates_as = "django.db.models.TextField"

    def from_db_value(self, value: Any, *_: Any) -> Any:
        return None if value is None else decode(value)

    def get_prep_value(self, value: Any) -> Any:
        if value is None or hasattr(value, "resolve_expression"):
            return value
        return encode(value, limit=options.result_size_limit)

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and value.startswith(_FIXTURE_PREFIX):
            return decode(value.removeprefix(_FIXTURE_PREFIX))
        return value

    def value_to_string(self, obj: models.Model) -> str:
        """The value in a fixture, in words that ``to_python`` can tell from a text."""
        return _FIXTURE_PREFIX + encode(self.value_from_object(obj))
