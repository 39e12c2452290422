"""PostgreSQL: a table of events by months, so that old ones lie apart; the names stay as they are.

Declarative partitioning as in the PostgreSQL manual, section "Table Partitioning".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from django.core.management.base import CommandError
from django.db import models, transaction
from django.db.backends.utils import truncate_name
from django.db.migrations.operations.base import OperationCategory
from django.db.migrations.operations.models import ModelOperation
from django.db.models import Max
from django.utils import timezone

from . import triggers
from .triggers import Table

_LIMIT = 63
_PATIENCE = "5s"
MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
_BOUND = re.compile(r"TO \('(\d{4})-(\d{2})-(\d{2})")
_REFUSAL = "This task has an event with this number in another month."


class ExtendPartitions(ModelOperation):
    """Give a partitioned event table its months up to ``until``, a month as "2027-12".

    What was written past the last month waits in the partition of the rest, and is moved. Does
    nothing on other databases, and nothing when the migration goes back.
    """

    category = OperationCategory.PYTHON
    reduces_to_sql = False
    # Each step has a transaction of its own, so that no lock is held for long.
    atomic = False

    def __init__(self, name: str, until: str) -> None:
        found = MONTH.fullmatch(until)
        if found is None:
            raise ValueError(f'until is {until!r}: name a month, as in "2027-12".')
        self.until = until
        self.last = date(int(found[1]), int(found[2]), 1)
        super().__init__(name)

    def state_forwards(self, app_label: str, state: Any) -> None:
        """The models stay as they are."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        if (table := self._found(app_label, schema_editor, to_state)) is not None:
            table.extend(self.last)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        """Months that are there do no harm."""

    def describe(self) -> str:
        return f"Give {self.name} its partitions up to {self.until}"

    @property
    def migration_name_fragment(self) -> str:
        return f"extend_{self.name_lower}_{self.until.replace('-', '_')}"

    def _found(self, app_label: str, schema_editor: Any, state: Any) -> _Partitioned | None:
        model = state.apps.get_model(app_label, self.name)
        connection = schema_editor.connection
        is_here = self.allow_migrate_model(connection.alias, model)
        if not is_here or connection.vendor != "postgresql":
            return None
        return _Partitioned(connection, model)


class PartitionEvents(ExtendPartitions):
    """Keep an event table by months from the next one on, up to ``until``; no event is moved.

    The table becomes the partition of everything before. The database then sees to it that the
    number of an event is used once by a unique index in each month, and across months by a trigger.
    Going back moves the events of all months into one table again, under lock.
    """

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        if (table := self._found(app_label, schema_editor, to_state)) is not None:
            if not table.is_partitioned():
                table.divide()
            table.extend(self.last)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        table = self._found(app_label, schema_editor, to_state)
        if table is not None and table.is_partitioned():
            table.unite()

    def describe(self) -> str:
        return f"Keep {self.name} by months in PostgreSQL"

    @property
    def migration_name_fragment(self) -> str:
        return f"partition_{self.name_lower}"


@dataclass(frozen=True)
class _Partition:
    name: str
    bound: str

    @property
    def end(self) -> date | None:
        """The first day after it; None for the partition of the rest."""
        found = _BOUND.search(self.bound)
        return date(*map(int, found.groups())) if found else None


class _Partitioned:
    """The table of an event model in PostgreSQL, in one piece or in many."""

    def __init__(self, connection: Any, model: type[models.Model]) -> None:
        self.connection = connection
        self.table = Table.of(model)
        self.newest = model._base_manager.using(connection.alias)
        meta: Any = model._meta
        self.time = str(meta.get_field("event_time").column)
        self.check = f"simpletask3_before_{self.table.digest}"
        self.guard = f"django_simpletask3_one_event_{self.table.digest}"

    def is_partitioned(self) -> bool:
        (kind,) = self._asked(
            "SELECT relkind FROM pg_class WHERE oid = to_regclass(%s)", self._q(self.table.name)
        )[0]
        return str(kind) == "p"

    def partitions(self) -> list[_Partition]:
        with transaction.atomic(using=self.connection.alias):
            self._run("SET LOCAL timezone = 'UTC'")  # in which the bounds are told
            rows = self._asked(
                "SELECT relname, pg_get_expr(relpartbound, pg_class.oid) FROM pg_inherits "
                "JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = to_regclass(%s) "
                "ORDER BY relname",
                self._q(self.table.name),
            )
        return [_Partition(*row) for row in rows]

    def divide(self) -> None:
        """Make the table the first partition of a new one with its name."""
        newest = self.newest.aggregate(last=Max("event_time"))["last"]
        now = datetime.now(UTC)
        start = _next_month(max(_day(moment) for moment in (now, newest or now)))
        names = self._names(start)
        # Checked while others go on writing; attaching then needs no look at the rows.
        self._run(
            "ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {check}",
            "ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({time} < {start}) NOT VALID",
            "ALTER TABLE {table} VALIDATE CONSTRAINT {check}",
            **names,
        )
        with self._rebuilt():
            self._run(
                "ALTER TABLE {table} RENAME TO {before}",
                "ALTER TABLE {before} ALTER COLUMN {key} DROP IDENTITY IF EXISTS",
                "CREATE TABLE {table} (LIKE {before} INCLUDING DEFAULTS INCLUDING STORAGE) "
                "PARTITION BY RANGE ({time})",
                "CREATE SEQUENCE {sequence} AS bigint OWNED BY {table}.{key}",
                "SELECT setval('{sequence}', (SELECT coalesce(max({key}), 0) + 1 FROM {before}), "
                "false)",
                "ALTER TABLE {table} ALTER COLUMN {key} SET DEFAULT nextval('{sequence}')",
                "ALTER TABLE {table} ATTACH PARTITION {before} "
                "FOR VALUES FROM (MINVALUE) TO ({start})",
                "ALTER TABLE {before} DROP CONSTRAINT {check}",
                "CREATE TABLE {rest} (LIKE {before} INCLUDING ALL)",
                "ALTER TABLE {table} ATTACH PARTITION {rest} DEFAULT",
                # A function of this form knows the table also when it is called otherwise. It is
                # volatile, and so sees what the same statement has inserted.
                "CREATE OR REPLACE FUNCTION {known}({table}.{task}%TYPE, {table}.{number}%TYPE) "
                "RETURNS boolean LANGUAGE sql VOLATILE BEGIN ATOMIC SELECT EXISTS "
                "(SELECT FROM {table} AS known WHERE known.{task} = $1 AND known.{number} = $2); "
                "END",
                "CREATE OR REPLACE FUNCTION {guard}() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
                "IF {known}(NEW.{task}, NEW.{number}) THEN "
                f"RAISE EXCEPTION '{_REFUSAL}' USING ERRCODE = 'unique_violation'; "
                "END IF; RETURN NEW; END$$",
                "CREATE TRIGGER {guard} BEFORE INSERT ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION {guard}()",
                **names,
            )

    def extend(self, last: date) -> None:
        """Add the months up to ``last``, that included."""
        there = self.partitions()
        ends = [one.end for one in there if one.end is not None]
        rests = [one.name for one in there if "DEFAULT" in one.bound]
        if not ends or not rests:
            raise CommandError(
                f"The partitions of {self.table.name} are not those of PartitionEvents: it has "
                f"{', '.join(f'{one.name} {one.bound}' for one in there) or 'none'}."
            )
        month = max(ends)
        while month <= last:
            self._add(month, rests[0])
            month = _next_month(month)

    def unite(self) -> None:
        """Put everything into one table again."""
        there = self.partitions()
        (before,) = [one.name for one in there if "MINVALUE" in one.bound]
        names = {**self._names(date.min), "before": self._q(before)}
        with self._rebuilt():
            self._run("DROP TRIGGER {guard} ON {table}", "DROP FUNCTION {guard}, {known}", **names)
            for one in there:
                self._run(f"ALTER TABLE {{table}} DETACH PARTITION {self._q(one.name)}", **names)
            for one in there:
                if one.name != before:
                    moved = self._q(one.name)
                    self._run(f"INSERT INTO {{before}} SELECT * FROM {moved}", **names)
                    self._run(f"DROP TABLE {moved}")
            self._run(
                "DROP TABLE {table}",
                "ALTER TABLE {before} RENAME TO {table}",
                "ALTER TABLE {table} ALTER COLUMN {key} ADD GENERATED BY DEFAULT AS IDENTITY",
                "SELECT setval(pg_get_serial_sequence('{table}', '{plain_key}'), "
                "(SELECT coalesce(max({key}), 0) + 1 FROM {table}), false)",
                **names,
            )

    def _add(self, month: date, rest: str) -> None:
        after = _next_month(month)
        names = {
            **self._names(month),
            "month": self._q(_name(self.table.name, f"{month:%Y_%m}")),
            "rest": self._q(rest),
            "end": _literal(after),
        }
        within = "{time} >= {start} AND {time} < {end}"
        with transaction.atomic(using=self.connection.alias):
            self._run(
                "SET LOCAL lock_timeout = '" + _PATIENCE + "'",
                "LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE",
                "CREATE TABLE {month} (LIKE {rest} INCLUDING ALL)",
                # The triggers of append-only tables would refuse to move what came too late.
                "ALTER TABLE {rest} DISABLE TRIGGER USER",
                f"WITH moved AS (DELETE FROM {{rest}} WHERE {within} RETURNING *) "
                "INSERT INTO {month} SELECT * FROM moved",
                "ALTER TABLE {rest} ENABLE TRIGGER USER",
                "ALTER TABLE {table} ATTACH PARTITION {month} FOR VALUES FROM ({start}) TO ({end})",
                **names,
            )

    def _names(self, start: date) -> dict[str, str]:
        name = self.table.name
        return {
            "table": self._q(name),
            "before": self._q(_name(name, f"before_{start:%Y_%m}")),
            "rest": self._q(_name(name, "rest")),
            "sequence": self._q(_name(name, "id_seq")),
            "check": self._q(self.check),
            "guard": self._q(self.guard),
            "known": self._q(f"{self.guard}_known"),
            "key": self._q(self.table.key),
            "plain_key": self.table.key,
            "task": self._q(self.table.task),
            "number": self._q(self.table.sequence),
            "time": self._q(self.time),
            "start": _literal(start),
        }

    @contextmanager
    def _rebuilt(self) -> Iterator[None]:
        """In a transaction that holds the table; its protection is put up again, if it had one."""
        dialect = triggers.dialect_of(self.connection)
        with transaction.atomic(using=self.connection.alias):
            self._run(
                f"SET LOCAL lock_timeout = '{_PATIENCE}'",
                f"LOCK TABLE {self._q(self.table.name)} IN ACCESS EXCLUSIVE MODE",
            )
            there = dialect.installed(self.table)
            if there:
                self._run(*triggers.taking_away(self.connection, self.table, there))
            yield
            if there:
                self._run(*triggers.putting_up(self.connection, self.table))

    def _q(self, name: str) -> str:
        return str(self.connection.ops.quote_name(name))

    def _asked(self, sql: str, *parameters: str) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())

    def _run(self, *statements: str, **names: str) -> None:
        with self.connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement.format_map(names) if names else statement)


def _name(table: str, ending: str) -> str:
    """The name of something that belongs to ``table``, as short as PostgreSQL wants it."""
    return f"{truncate_name(table, _LIMIT - len(ending) - 1)}_{ending}"


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def _literal(day: date) -> str:
    return f"'{day:%Y-%m-%d} 00:00:00+00'"


def _day(moment: datetime) -> date:
    """The day of ``moment`` in UTC."""
    aware = timezone.make_aware(moment) if timezone.is_naive(moment) else moment
    return aware.astimezone(UTC).date()
