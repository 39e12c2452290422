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

_MAX_NAME_LENGTH = 63
_LOCK_TIMEOUT = "5s"
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
        match = MONTH.fullmatch(until)
        if match is None:
            raise ValueError(f'until is {until!r}: name a month, as in "2027-12".')
        self.until = until
        self.last_month = date(int(match[1]), int(match[2]), 1)
        super().__init__(name)

    def state_forwards(self, app_label: str, state: Any) -> None:
        """The models stay as they are."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        if (table := self._partitioned_table(app_label, schema_editor, to_state)) is not None:
            table.extend(self.last_month)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        """Months that are there do no harm."""

    def describe(self) -> str:
        return f"Give {self.name} its partitions up to {self.until}"

    @property
    def migration_name_fragment(self) -> str:
        return f"extend_{self.name_lower}_{self.until.replace('-', '_')}"

    def _partitioned_table(
        self, app_label: str, schema_editor: Any, state: Any
    ) -> _PartitionedTable | None:
        model = state.apps.get_model(app_label, self.name)
        connection = schema_editor.connection
        is_here = self.allow_migrate_model(connection.alias, model)
        if not is_here or connection.vendor != "postgresql":
            return None
        return _PartitionedTable(connection, model)


class PartitionEvents(ExtendPartitions):
    """Keep an event table by months from the next one on, up to ``until``; no event is moved.

    The table becomes the partition of everything before. The database then sees to it that the
    number of an event is used once by a unique index in each month, and across months by a trigger.
    Going back moves the events of all months into one table again, under lock.
    """

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        if (table := self._partitioned_table(app_label, schema_editor, to_state)) is not None:
            if not table.is_partitioned():
                table.partition_by_month()
            table.extend(self.last_month)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        table = self._partitioned_table(app_label, schema_editor, to_state)
        if table is not None and table.is_partitioned():
            table.merge_partitions()

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
        match = _BOUND.search(self.bound)
        return date(*map(int, match.groups())) if match else None


class _PartitionedTable:
    """The table of an event model in PostgreSQL, in one piece or in many."""

    def __init__(self, connection: Any, model: type[models.Model]) -> None:
        self.connection = connection
        self.table = Table.of(model)
        self.events = model._base_manager.using(connection.alias)
        meta: Any = model._meta
        self.time_column = str(meta.get_field("event_time").column)
        self.check_name = f"simpletask3_before_{self.table.digest}"
        self.trigger_name = f"django_simpletask3_one_event_{self.table.digest}"

    def is_partitioned(self) -> bool:
        (kind,) = self._fetch_rows(
            "SELECT relkind FROM pg_class WHERE oid = to_regclass(%s)", self._quote(self.table.name)
        )[0]
        return str(kind) == "p"

    def partitions(self) -> list[_Partition]:
        with transaction.atomic(using=self.connection.alias):
            self._run("SET LOCAL timezone = 'UTC'")  # in which the bounds are told
            rows = self._fetch_rows(
                "SELECT relname, pg_get_expr(relpartbound, pg_class.oid) FROM pg_inherits "
                "JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = to_regclass(%s) "
                "ORDER BY relname",
                self._quote(self.table.name),
            )
        return [_Partition(*row) for row in rows]

    def partition_by_month(self) -> None:
        """Make the table the first partition of a new one with its name."""
        newest_time = self.events.aggregate(last=Max("event_time"))["last"]
        now = datetime.now(UTC)
        start = _next_month(max(_day(time) for time in (now, newest_time or now)))
        names = self._names(start)
        # Checked while others go on writing; attaching then needs no look at the rows.
        self._run(
            "ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {check}",
            "ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({time} < {start}) NOT VALID",
            "ALTER TABLE {table} VALIDATE CONSTRAINT {check}",
            **names,
        )
        with self._suspend_protection():
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

    def extend(self, last_month: date) -> None:
        """Add the months up to ``last``, that included."""
        partitions = self.partitions()
        ends = [partition.end for partition in partitions if partition.end is not None]
        default_partitions = [
            partition.name for partition in partitions if "DEFAULT" in partition.bound
        ]
        if not ends or not default_partitions:
            raise CommandError(
                f"The partitions of {self.table.name} are not those of PartitionEvents: it has "
                f"{', '.join(f'{one.name} {one.bound}' for one in partitions) or 'none'}."
            )
        month = max(ends)
        while month <= last_month:
            self._add_month(month, default_partitions[0])
            month = _next_month(month)

    def merge_partitions(self) -> None:
        """Put everything into one table again."""
        partitions = self.partitions()
        (first_partition,) = [
            partition.name for partition in partitions if "MINVALUE" in partition.bound
        ]
        names = {**self._names(date.min), "before": self._quote(first_partition)}
        with self._suspend_protection():
            self._run("DROP TRIGGER {guard} ON {table}", "DROP FUNCTION {guard}, {known}", **names)
            for partition in partitions:
                self._run(
                    f"ALTER TABLE {{table}} DETACH PARTITION {self._quote(partition.name)}", **names
                )
            for partition in partitions:
                if partition.name != first_partition:
                    source = self._quote(partition.name)
                    self._run(f"INSERT INTO {{before}} SELECT * FROM {source}", **names)
                    self._run(f"DROP TABLE {source}")
            self._run(
                "DROP TABLE {table}",
                "ALTER TABLE {before} RENAME TO {table}",
                "ALTER TABLE {table} ALTER COLUMN {key} ADD GENERATED BY DEFAULT AS IDENTITY",
                "SELECT setval(pg_get_serial_sequence('{table}', '{plain_key}'), "
                "(SELECT coalesce(max({key}), 0) + 1 FROM {table}), false)",
                **names,
            )

    def _add_month(self, month: date, default_partition: str) -> None:
        next_month = _next_month(month)
        names = {
            **self._names(month),
            "month": self._quote(_short_name(self.table.name, f"{month:%Y_%m}")),
            "rest": self._quote(default_partition),
            "end": _literal(next_month),
        }
        condition = "{time} >= {start} AND {time} < {end}"
        with transaction.atomic(using=self.connection.alias):
            self._run(
                "SET LOCAL lock_timeout = '" + _LOCK_TIMEOUT + "'",
                "LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE",
                "CREATE TABLE {month} (LIKE {rest} INCLUDING ALL)",
                # The triggers of append-only tables would refuse to move what came too late.
                "ALTER TABLE {rest} DISABLE TRIGGER USER",
                f"WITH moved AS (DELETE FROM {{rest}} WHERE {condition} RETURNING *) "
                "INSERT INTO {month} SELECT * FROM moved",
                "ALTER TABLE {rest} ENABLE TRIGGER USER",
                "ALTER TABLE {table} ATTACH PARTITION {month} FOR VALUES FROM ({start}) TO ({end})",
                **names,
            )

    def _names(self, start: date) -> dict[str, str]:
        name = self.table.name
        return {
            "table": self._quote(name),
            "before": self._quote(_short_name(name, f"before_{start:%Y_%m}")),
            "rest": self._quote(_short_name(name, "rest")),
            "sequence": self._quote(_short_name(name, "id_seq")),
            "check": self._quote(self.check_name),
            "guard": self._quote(self.trigger_name),
            "known": self._quote(f"{self.trigger_name}_known"),
            "key": self._quote(self.table.key),
            "plain_key": self.table.key,
            "task": self._quote(self.table.task),
            "number": self._quote(self.table.sequence),
            "time": self._quote(self.time_column),
            "start": _literal(start),
        }

    @contextmanager
    def _suspend_protection(self) -> Iterator[None]:
        """In a transaction that holds the table; its protection is put up again, if it had one."""
        dialect = triggers.dialect_for(self.connection)
        with transaction.atomic(using=self.connection.alias):
            self._run(
                f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'",
                f"LOCK TABLE {self._quote(self.table.name)} IN ACCESS EXCLUSIVE MODE",
            )
            installed = dialect.installed_triggers(self.table)
            if installed:
                self._run(*triggers.removal_statements(self.connection, self.table, installed))
            yield
            if installed:
                self._run(*triggers.creation_statements(self.connection, self.table))

    def _quote(self, name: str) -> str:
        return str(self.connection.ops.quote_name(name))

    def _fetch_rows(self, sql: str, *parameters: str) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())

    def _run(self, *statements: str, **names: str) -> None:
        with self.connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement.format_map(names) if names else statement)


def _short_name(table: str, suffix: str) -> str:
    """The name of something that belongs to ``table``, as short as PostgreSQL wants it."""
    return f"{truncate_name(table, _MAX_NAME_LENGTH - len(suffix) - 1)}_{suffix}"


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def _literal(day: date) -> str:
    return f"'{day:%Y-%m-%d} 00:00:00+00'"


def _day(time: datetime) -> date:
    """The day of ``moment`` in UTC."""
    aware = timezone.make_aware(time) if timezone.is_naive(time) else time
    return aware.astimezone(UTC).date()
