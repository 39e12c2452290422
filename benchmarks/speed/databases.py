"""The measured databases: private servers with default settings."""

import shutil
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from tests.worker.outages.servers import DatabaseServer, MariaDB, Postgres, asked

_NAME = "bench"


class SetupError(Exception):
    """The benchmark cannot start: a required program is missing or an argument is unknown."""


class Database(ABC):
    """A database of tasks; each contender starts with an empty one."""

    kind: ClassVar[str]
    #: How its figures are counted, for the head of a report.
    counting_note: ClassVar[str] = ""
    #: The main process of the server, if it is a private one.
    pid: int | None = None

    @abstractmethod
    def recreate(self) -> str:
        """Replace the database by an empty one; return its URL."""

    @abstractmethod
    def connect(self) -> Any:
        """Open a connection of the driver in autocommit mode."""

    @property
    @abstractmethod
    def version(self) -> str:
        """Name and version of the server."""

    def counts(self) -> dict[str, float]:
        """Return the counters of the server."""
        return {}

    @abstractmethod
    def close(self) -> None:
        """Drop the database and stop a private server."""


class _OwnPostgres(Postgres):
    """Default settings, and pg_stat_statements."""

    def command(self) -> list[str]:
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "shared_preload_libraries": "pg_stat_statements",
            "pg_stat_statements.track": "top",
            "pg_stat_statements.track_utility": "on",
        }
        pairs = [text for name in options for text in ("-c", f"{name}={options[name]}")]
        return [str(self._programs()[-1] / "postgres"), "-D", str(self.folder / "data"), *pairs]


class _OwnMariaDB(MariaDB):
    """Default settings: each commit is on the disk before the server replies."""

    def command(self) -> list[str]:
        overridden = ("--innodb-flush-log-at-trx-commit", "--innodb-buffer-pool-size")
        return [option for option in super().command() if not option.startswith(overridden)]


class PostgresDatabase(Database):
    """A private cluster, or the server of a URL; it needs pg_stat_statements."""

    kind = "postgres"
    counted = (
        "Transactions: those that wrote (transaction ids, so savepoints that wrote, too). Commits: "
        "times the log was made durable (pg_stat_wal.wal_sync; several may share one). Statements: "
        "calls in pg_stat_statements but BEGIN, COMMIT, ROLLBACK and savepoints. Log: WAL bytes."
    )

    def __init__(self, url: str | None = None) -> None:
        self._server = None if url else _start(_OwnPostgres)
        if self._server:
            self.pid = self._server.process.pid
            url = f"postgres://{self._server.superuser}@127.0.0.1:{self._server.port}/"
        self._address = str(url).rpartition("/")[0]
        self._monitor = self._connect("postgres")
        asked(self._monitor, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements")

    def _connect(self, name: str) -> Any:
        import psycopg

        return psycopg.connect(f"{self._address}/{name}", autocommit=True)

    @property
    def version(self) -> str:
        ((version,),) = asked(self._monitor, "SHOW server_version")
        return f"PostgreSQL {version}"

    def recreate(self) -> str:
        asked(self._monitor, f"DROP DATABASE IF EXISTS {_NAME} WITH (FORCE)")
        asked(self._monitor, f"CREATE DATABASE {_NAME}")
        # The next scheduled checkpoint is five minutes away, after the phase.
        asked(self._monitor, "CHECKPOINT")
        return f"{self._address}/{_NAME}"

    def connect(self) -> Any:
        return self._connect(_NAME)

    def counts(self) -> dict[str, float]:
        ((statements,),) = asked(
            self._monitor,
            "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements"
            " JOIN pg_database ON pg_database.oid = dbid WHERE datname = %s AND query !~* %s",
            _NAME,
            r"^\s*(begin|commit|rollback|savepoint|release)\M",
        )
        ((transactions, log),) = asked(
            self._monitor,
            "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint,"
            " pg_current_wal_insert_lsn() - '0/0'",
        )
        ((commits,),) = asked(self._monitor, self._syncs())
        return {
            "transactions": float(transactions),
            "commits": float(commits),
            "statements": float(statements),
            "log_bytes": float(log),
        }

    def _syncs(self) -> str:
        if self._monitor.info.server_version < 180000:
            return "SELECT wal_sync FROM pg_stat_wal"
        return "SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal'"

    def close(self) -> None:
        asked(self._monitor, f"DROP DATABASE IF EXISTS {_NAME} WITH (FORCE)")
        self._monitor.close()
        if self._server:
            self._server.remove()


class MariaDatabase(Database):
    """A private server, or the server of a URL."""

    kind = "mysql"
    counted = (
        "Transactions: those that wrote (trx_rw_commits). Commits: writes of the log, each made "
        "durable (Innodb_log_writes). Statements: SELECT, INSERT, UPDATE, DELETE, REPLACE. "
        "Log: Innodb_os_log_written, bytes."
    )
    _STATEMENTS = (
        "select",
        "insert",
        "insert_select",
        "update",
        "update_multi",
        "delete",
        "replace",
    )

    def __init__(self, url: str | None = None) -> None:
        self._server = None if url else _start(_OwnMariaDB)
        if self._server:
            self.pid = self._server.process.pid
            url = f"mysql://{self._server.superuser}@127.0.0.1:{self._server.port}/"
        self._address = str(url).rpartition("/")[0]
        self._monitor = self._connect("mysql")
        asked(self._monitor, "SET GLOBAL innodb_monitor_enable = trx_rw_commits")

    def _connect(self, name: str) -> Any:
        import MySQLdb

        parts = urlsplit(self._address)
        session = MySQLdb.connect(
            host=parts.hostname,
            port=parts.port or 3306,
            user=parts.username or "root",
            password=parts.password or "",
            database=name,
        )
        session.autocommit(True)
        return session

    @property
    def version(self) -> str:
        ((version,),) = asked(self._monitor, "SELECT version()")
        return f"MariaDB {version}"

    def recreate(self) -> str:
        asked(self._monitor, f"DROP DATABASE IF EXISTS {_NAME}")
        asked(self._monitor, f"CREATE DATABASE {_NAME} CHARACTER SET utf8mb4")
        return f"{self._address}/{_NAME}"

    def connect(self) -> Any:
        return self._connect(_NAME)

    def counts(self) -> dict[str, float]:
        status = {name.lower(): value for name, value in asked(self._monitor, "SHOW GLOBAL STATUS")}
        ((transactions,),) = asked(
            self._monitor,
            "SELECT count FROM information_schema.innodb_metrics WHERE name = 'trx_rw_commits'",
        )
        return {
            "transactions": float(transactions),
            "commits": float(status["innodb_log_writes"]),
            "statements": sum(float(status[f"com_{kind}"]) for kind in self._STATEMENTS),
            "log_bytes": float(status["innodb_os_log_written"]),
        }

    def close(self) -> None:
        asked(self._monitor, f"DROP DATABASE IF EXISTS {_NAME}")
        self._monitor.close()
        if self._server:
            self._server.remove()


class SqliteDatabase(Database):
    """A file in a temporary folder."""

    kind = "sqlite"

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="simpletask3-bench-"))
        self._path = self._folder / f"{_NAME}.sqlite3"

    @property
    def version(self) -> str:
        import sqlite3

        return f"SQLite {sqlite3.sqlite_version}"

    def recreate(self) -> str:
        for path in self._folder.iterdir():
            path.unlink()
        return f"sqlite://{self._path}"

    def connect(self) -> Any:
        import sqlite3

        return sqlite3.connect(self._path, isolation_level=None, timeout=30)

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def open_database(name: str) -> Database:
    """Open a database: postgres, mysql, sqlite or the URL of a server.

    Raise SetupError if this machine has no such server.
    """
    if name == "sqlite":
        return SqliteDatabase()
    scheme, _, address = name.partition("://")
    kinds: dict[str, Any] = {"postgres": PostgresDatabase, "mysql": MariaDatabase}
    if scheme not in kinds:
        raise SetupError(f"{name!r} is neither postgres, mysql, sqlite nor a URL of these.")
    database: Database = kinds[scheme](name if address else None)
    return database


def _start(kind: type[DatabaseServer]) -> Any:
    if not kind.found():
        raise SetupError(
            f"{kind.__name__.removeprefix('_Own')} is not on this machine. Install it, or name a "
            "running server: --database postgres://user@host:port/name."
        )
    server = kind()
    server.make()
    server.start()
    return server
