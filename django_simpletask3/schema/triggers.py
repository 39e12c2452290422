"""Triggers that make a table append-only, in the SQL of each database."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.db import DatabaseError, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import NotSupportedError

from ..ledger.tombstone import Tombstone

PREFIX = "simpletask3_append_only"
FUNCTION = f"django_{PREFIX}"
#: The error message of the database; MySQL truncates it at 128 characters.
REFUSAL = "Events are append-only: they cannot be changed or deleted. A stream outlives its task."

_NO_PRIVILEGE = (
    "The database user may not change the triggers that keep {table} append-only. Grant it TRIGGER "
    "on the table; on MySQL and MariaDB with binary logging also grant SUPER, or set "
    "log_bin_trust_function_creators = 1 on the server. The error of the database: {error}"
)
#: MySQL: command denied, needs SUPER, access denied, needs SUPER because of binary logging.
_DENIED_ERRNOS = {1142, 1227, 1044, 1419}
_INSUFFICIENT_PRIVILEGE = "42501"


@dataclass(frozen=True)
class Table:
    """The table of an event model and the columns that identify its rows."""

    name: str
    key: str
    task: str
    sequence: str

    @classmethod
    def of(cls, model: type[models.Model]) -> Table:
        meta: Any = model._meta
        columns = (meta.get_field(name).column for name in (meta.pk.name, "task", "sequence"))
        return cls(meta.db_table, *columns)

    @property
    def digest(self) -> str:
        """A short suffix for the names of objects that belong to this table."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:12]

    def trigger_name(self, operation: str) -> str:
        """A name unique in the database: MySQL and SQLite require that of triggers."""
        return f"{PREFIX}_{operation}_{self.digest}"


class Dialect(ABC):
    """The SQL for triggers on one kind of database."""

    #: Selects each trigger of this package: key and name of its table, its own name, and its
    #: definition, by which an altered trigger is found.
    triggers_query: str

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.quote = connection.ops.quote_name
        self.tombstones = self.quote(Tombstone._meta.db_table)

    @abstractmethod
    def trigger_sql(self, table: Table) -> dict[str, str]:
        """The SQL of each trigger, by name."""

    @abstractmethod
    def expected_triggers(self, table: Table) -> dict[str, str]:
        """The value of ``installed_triggers`` if all triggers are intact."""

    def drop_statement(self, table: Table, name: str) -> str:
        return f"DROP TRIGGER IF EXISTS {self.quote(name)}"

    def setup_statements(self) -> list[str]:
        """The statements that create what the triggers need."""
        return []

    def cleanup_statements(self) -> list[str]:
        """The statements that drop what no trigger needs any more."""
        return []

    def partition_statements(self, table: Table) -> list[str]:
        """The statements that protect what the triggers of ``table`` itself do not."""
        return []

    def unprotect_partitions(self, table: Table) -> list[str]:
        """The statements that undo ``partition_statements``."""
        return []

    def format_for_client(self, sql: str) -> str:
        """Format ``sql`` for the command-line client of the database."""
        return sql

    def installed_triggers(self, table: Table) -> dict[str, str]:
        """The definitions of the triggers of ``table`` in the database, by name."""
        return self.installed_in([table])[table]

    def installed_in(self, tables: Sequence[Table]) -> dict[Table, dict[str, str]]:
        """The value of ``installed_triggers`` of each table, in as many statements as of one."""
        keys = self.table_keys(tables)
        found: dict[str, dict[str, str]] = {key: {} for key in keys.values()}
        for owner_key, _, name, definition in self.read():
            if owner_key in found:
                found[owner_key][name] = definition
        return {table: found[key] for table, key in keys.items()}

    def protected_tables(self) -> set[str]:
        """The names of the tables that have triggers of this package."""
        return {table for _, table, _, _ in self.read()}

    def table_keys(self, tables: Sequence[Table]) -> dict[Table, str]:
        return {table: table.name.lower() for table in tables}

    def read(self) -> list[tuple[str, str, str, str]]:
        """Return the rows of ``triggers_query``."""
        with self.connection.cursor() as cursor:
            cursor.execute(self.triggers_query)
            return list(cursor.fetchall())


class SQLite(Dialect):
    triggers_query = (
        "SELECT lower(tbl_name), tbl_name, name, sql FROM sqlite_master "
        f"WHERE type = 'trigger' AND name LIKE '{PREFIX}%'"
    )

    def trigger_sql(self, table: Table) -> dict[str, str]:
        no_open_tombstone = f'NOT EXISTS (SELECT 1 FROM {self.tombstones} WHERE "is_open")'
        name, key, task, sequence = map(
            self.quote, (table.name, table.key, table.task, table.sequence)
        )
        # INSERT OR REPLACE deletes the existing row without firing the DELETE trigger.
        row_exists = (
            f"EXISTS (SELECT 1 FROM {name} WHERE {key} = NEW.{key} "
            f"OR ({task} = NEW.{task} AND {sequence} = NEW.{sequence}))"
        )
        conditions = {
            "update": no_open_tombstone,
            "delete": no_open_tombstone,
            "insert": f"{row_exists} AND {no_open_tombstone}",
        }
        return {
            table.trigger_name(operation): (
                f"CREATE TRIGGER {self.quote(table.trigger_name(operation))} "
                f"BEFORE {operation.upper()} ON {name} "
                f"WHEN {condition} BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
            )
            for operation, condition in conditions.items()
        }

    def expected_triggers(self, table: Table) -> dict[str, str]:
        return self.trigger_sql(table)


class MySQL(Dialect):
    #: The only partition of the table of tombstones, under the name that the server gives it.
    partition = "p0"
    triggers_query = (
        "SELECT lower(event_object_table), event_object_table, trigger_name, "
        "concat(action_timing, ' ', event_manipulation, ' ', action_statement) "
        "FROM information_schema.triggers "
        f"WHERE event_object_schema = DATABASE() AND trigger_name LIKE '{PREFIX}%'"
    )

    def trigger_sql(self, table: Table) -> dict[str, str]:
        return {
            table.trigger_name(operation): (
                f"CREATE TRIGGER {self.quote(table.trigger_name(operation))} "
                f"BEFORE {operation.upper()} "
                f"ON {self.quote(table.name)} FOR EACH ROW {self._body()}"
            )
            for operation in ("update", "delete")
        }

    def expected_triggers(self, table: Table) -> dict[str, str]:
        return {
            table.trigger_name(operation): f"BEFORE {operation.upper()} {self._body()}"
            for operation in ("update", "delete")
        }

    def setup_statements(self) -> list[str]:
        if self._is_partitioned():
            return []
        return [f"ALTER TABLE {self.tombstones} PARTITION BY KEY (id) PARTITIONS 1"]

    def installed_in(self, tables: Sequence[Table]) -> dict[Table, dict[str, str]]:
        # Without the partition the triggers refuse every change, that of a tombstone included.
        if not self._is_partitioned():
            return {table: {} for table in tables}
        return super().installed_in(tables)

    def _is_partitioned(self) -> bool:
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM information_schema.partitions WHERE table_schema = DATABASE() "
                f"AND table_name = %s AND partition_name = '{self.partition}'",
                [Tombstone._meta.db_table],
            )
            return cursor.fetchone() is not None

    def _body(self) -> str:
        # A temporary table hides the tombstones from a trigger in MariaDB, but can have no
        # partition: naming one makes the statement fail then
        # (test_a_temporary_table_in_place_of_the_tombstones_allows_nothing).
        # A trigger reads with a lock: without SKIP LOCKED, a transaction that deletes would wait
        # for each other one with an open tombstone, and two would deadlock
        # (test_two_may_delete_at_once).
        can_skip = self.connection.features.has_select_for_update_skip_locked
        lock = " FOR UPDATE SKIP LOCKED" if can_skip else ""
        return (
            f"IF NOT EXISTS (SELECT 1 FROM {self.tombstones} "
            f"PARTITION ({self.partition}) WHERE is_open{lock}) THEN "
            f"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{REFUSAL}'; END IF"
        )

    def format_for_client(self, sql: str) -> str:
        # The client would end the statement at a semicolon inside the trigger.
        return f"DELIMITER //\n{sql}//\nDELIMITER ;" if ";" in sql else sql


class PostgreSQL(Dialect):
    triggers_query = (
        # The partitions of each trigger's table on which the trigger is disabled.
        "WITH off AS (SELECT tgparentid, string_agg(tgrelid::regclass::text, ' ') AS names "
        "FROM pg_trigger WHERE tgparentid <> 0 AND tgenabled <> 'O' GROUP BY tgparentid) "
        "SELECT tgrelid::text, relname, tgname, "
        "concat_ws(' ', tgtype, tgenabled, tgattr, tgqual, prosrc, proconfig::text, off.names, "
        # The partitions that can be truncated: they do not inherit a trigger for that.
        "(SELECT string_agg(relid::regclass::text, ' ') FROM pg_partition_tree(tgrelid) "
        "WHERE relid <> tgrelid AND NOT EXISTS (SELECT FROM pg_trigger AS own "
        "WHERE own.tgrelid = relid AND own.tgfoid = pg_trigger.tgfoid "
        "AND own.tgtype = 34 AND own.tgenabled = 'O'))) "
        "FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid "
        "JOIN pg_class ON pg_class.oid = tgrelid "
        "LEFT JOIN off ON off.tgparentid = pg_trigger.oid "
        f"WHERE tgname LIKE '{PREFIX}%' AND pg_trigger.tgparentid = 0"
    )
    # FOR EACH ROW, so that statements that match no row are allowed: loaddata and Model.save() try
    # UPDATE before INSERT (test_events_can_be_loaded_from_a_fixture).
    trigger_events = {
        "change": ("UPDATE OR DELETE", "ROW", 27),
        "truncate": ("TRUNCATE", "STATEMENT", 34),
    }
    # Otherwise names would be looked up where the user says, first among temporary tables
    # (test_a_temporary_table_in_place_of_the_tombstones_allows_nothing).
    search_path = "search_path = pg_catalog, pg_temp"

    def trigger_sql(self, table: Table) -> dict[str, str]:
        return {
            f"{PREFIX}_{suffix}": self._trigger_on(self.quote(table.name), suffix)
            for suffix in self.trigger_events
        }

    def expected_triggers(self, table: Table) -> dict[str, str]:
        config = f'{{"{self.search_path.replace(" = ", "=")}"}}'
        return {
            f"{PREFIX}_{suffix}": f"{trigger_type} O  {self._body()} {config}"
            for suffix, (_, _, trigger_type) in self.trigger_events.items()
        }

    def drop_statement(self, table: Table, name: str) -> str:
        return f"{super().drop_statement(table, name)} ON {self.quote(table.name)}"

    def setup_statements(self) -> list[str]:
        options = f"RETURNS trigger LANGUAGE plpgsql SET {self.search_path}"
        return [f"CREATE OR REPLACE FUNCTION {FUNCTION}() {options} AS $${self._body()}$$"]

    def cleanup_statements(self) -> list[str]:
        remaining_triggers = f"SELECT FROM pg_trigger WHERE tgfoid = to_regproc('{FUNCTION}')"
        drop = f"DROP FUNCTION IF EXISTS {FUNCTION}()"
        return [f"DO $$ BEGIN IF NOT EXISTS ({remaining_triggers}) THEN {drop}; END IF; END $$"]

    def partition_statements(self, table: Table) -> list[str]:
        return [self._in_each_partition(table, self._drop_truncate, self._trigger_on("%s"))]

    def unprotect_partitions(self, table: Table) -> list[str]:
        return [self._in_each_partition(table, self._drop_truncate)]

    @property
    def _drop_truncate(self) -> str:
        return f"DROP TRIGGER IF EXISTS {self.quote(f'{PREFIX}_truncate')} ON %s"

    def _trigger_on(self, table: str, suffix: str = "truncate") -> str:
        event, level, _ = self.trigger_events[suffix]
        return (
            f"CREATE TRIGGER {self.quote(f'{PREFIX}_{suffix}')} BEFORE {event} "
            f"ON {table} FOR EACH {level} EXECUTE FUNCTION {FUNCTION}()"
        )

    def _in_each_partition(self, table: Table, *statements: str) -> str:
        """One statement that runs ``statements``, with each partition in place of ``%s``."""
        runs = " ".join(f"EXECUTE format('{statement}', name);" for statement in statements)
        # pg_partition_tree() is strict: a table that does not exist yet has no partitions.
        partitions = f"SELECT relid FROM pg_partition_tree(to_regclass('{self.quote(table.name)}'))"
        return (
            "DO $$ DECLARE name regclass; BEGIN "
            f"FOR name IN {partitions} WHERE level > 0 LOOP {runs} END LOOP; END $$"
        )

    def table_keys(self, tables: Sequence[Table]) -> dict[Table, str]:
        # The OID of the table, because its name may include a schema.
        oids = ", ".join(["to_regclass(%s)::oid::text"] * len(tables))
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT {oids}", [self.quote(table.name) for table in tables])
            return dict(zip(tables, map(str, cursor.fetchone()), strict=True))

    def _body(self) -> str:
        return (
            f"BEGIN IF NOT EXISTS (SELECT FROM {self._schema}.{self.tombstones} WHERE is_open) "
            f"THEN RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'restrict_violation'; END IF; "
            "IF TG_OP = 'UPDATE' THEN RETURN NEW; END IF; RETURN OLD; END"
        )

    @cached_property
    def _schema(self) -> str:
        """The schema of the tombstones; if there are none yet, that of new tables."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT quote_ident(coalesce((SELECT nspname FROM pg_class "
                "JOIN pg_namespace ON pg_namespace.oid = relnamespace "
                "WHERE pg_class.oid = to_regclass(%s) AND relpersistence <> 't'), "
                "current_schema()))",
                [self.tombstones],
            )
            return str(cursor.fetchone()[0])


_DIALECTS: Mapping[str, type[Dialect]] = {
    "sqlite": SQLite,
    "mysql": MySQL,
    "postgresql": PostgreSQL,
}


def dialect_for(connection: BaseDatabaseWrapper) -> Dialect:
    """Return the dialect of the database; raises NotSupportedError if there is none."""
    try:
        return _DIALECTS[connection.vendor](connection)
    except KeyError:
        raise NotSupportedError(
            f"Events cannot be made append-only on {connection.display_name}: "
            "triggers exist for PostgreSQL, MySQL, MariaDB and SQLite."
        ) from None


def creation_statements(
    connection: BaseDatabaseWrapper, table: Table, installed: Mapping[str, str] | None = None
) -> list[str]:
    """Return the statements that create the triggers and drop the ``installed`` ones first."""
    dialect = dialect_for(connection)
    new_triggers = dialect.trigger_sql(table)
    # Drop by the new names too: a renamed table may have kept triggers with these names.
    names = [*new_triggers, *(name for name in installed or () if name not in new_triggers)]
    drops = [dialect.drop_statement(table, name) for name in names]
    partitions = dialect.partition_statements(table)
    return [*dialect.setup_statements(), *drops, *new_triggers.values(), *partitions]


def removal_statements(
    connection: BaseDatabaseWrapper, table: Table, installed: Mapping[str, str] | None = None
) -> list[str]:
    """Return the statements that drop the triggers of ``table``, also under older names."""
    dialect = dialect_for(connection)
    names = [*dict.fromkeys([*dialect.trigger_sql(table), *(installed or ())])]
    drops = [dialect.drop_statement(table, name) for name in names]
    return [*drops, *dialect.unprotect_partitions(table), *dialect.cleanup_statements()]


def has_expected_triggers(connection: BaseDatabaseWrapper, table: Table) -> bool:
    """Whether all triggers of ``table`` exist, unaltered and enabled."""
    return table in tables_with_expected_triggers(connection, [table])


def tables_with_expected_triggers(
    connection: BaseDatabaseWrapper, tables: Sequence[Table]
) -> set[Table]:
    """Those of ``tables`` whose triggers all exist, unaltered and enabled."""
    dialect = dialect_for(connection)
    installed = dialect.installed_in(tables)
    return {t for t in tables if installed[t] and installed[t] == dialect.expected_triggers(t)}


def execute(connection: BaseDatabaseWrapper, table: Table, statements: list[str]) -> None:
    """Run ``statements``, in one transaction where the database supports it for DDL."""
    with _explain_missing_privilege(table), connection.cursor() as cursor:
        if not connection.features.can_rollback_ddl:
            for statement in statements:
                cursor.execute(statement)
            return
        with transaction.atomic(using=connection.alias):
            for statement in statements:
                cursor.execute(statement)


@contextmanager
def _explain_missing_privilege(table: Table) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        driver_error = error.__cause__
        if _is_denied(driver_error):
            raise type(error)(_NO_PRIVILEGE.format(table=table.name, error=driver_error)) from error
        raise


def _is_denied(driver_error: BaseException | None) -> bool:
    number = driver_error.args[0] if driver_error is not None and driver_error.args else None
    state = getattr(driver_error, "sqlstate", None)
    return number in _DENIED_ERRNOS or state == _INSUFFICIENT_PRIVILEGE
