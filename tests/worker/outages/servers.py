"""Database servers of the tests' own, which can be stopped, frozen and started again."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.eventually import eventually
from tests.redis_servers import WATCH

_PROC = Path("/proc")
_NAME = "outages"
_NO_SUCH_SESSION = 1094


class DatabaseServer:
    """One server with one database, in a folder of its own."""

    program: str
    user: str
    engine: str
    #: With these, a session waits for no lock longer than a second.
    impatient: dict[str, Any]
    serializable: dict[str, Any]
    #: Whether a session waits for a lock, and how a session locks a table against writers.
    waiting: str
    lock_table: str
    last_signal = signal.SIGKILL

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="simpletask3-outages-"))
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.watch: subprocess.Popen[bytes] | None = None
        #: More of the environment of the server. Its time zone has a repeated hour in autumn.
        self.environment = {"TZ": "Europe/Berlin"}
        # Database servers refuse to be run by root.
        self.owner = {"user": self.user, "group": self.user} if os.getuid() == 0 else {}
        if self.owner:
            shutil.chown(self.folder, self.user, self.user)

    @classmethod
    def found(cls) -> bool:
        """Whether this machine has the programs."""
        raise NotImplementedError

    def settings(self, **options: Any) -> dict[str, Any]:
        """The entry of DATABASES."""
        where = {"ENGINE": self.engine, "NAME": _NAME, "HOST": "127.0.0.1", "PORT": self.port}
        return {**where, "USER": self.superuser, "OPTIONS": options}

    def make(self) -> None:
        """Make the folder of data; once, before the first start."""
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def connect(self, name: str = _NAME) -> Any:
        """A session of the driver's own, without Django."""
        raise NotImplementedError

    def cut_off(self) -> int:
        """End all sessions but the one that does it; how many."""
        raise NotImplementedError

    def start(self) -> None:
        """Return when the server answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd="/",
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **self.environment},
                **self.owner,
            )
        self.watch = subprocess.Popen(
            ["sh", "-c", WATCH, "sh", str(self.process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        eventually(self.answers, timeout=60.0, interval=0.1)

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()[-3000:]
        return self._answers()

    def stop(self) -> None:
        """End the server at once, as a crash does."""
        if self.process is not None and self.watch is not None:
            self.thaw()
            self.process.send_signal(self.last_signal)
            self.process.wait()
            self.watch.communicate()
            self.process = self.watch = None

    def freeze(self) -> None:
        """The server stays connected and says nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def remove(self) -> None:
        """End the server for good."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, sql: str, *parameters: Any, name: str = _NAME) -> list[tuple[Any, ...]]:
        """What one statement in a session of its own answers."""
        with closing(self.connect(name)) as session:
            return asked(session, sql, *parameters)

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """A session whose transaction is open while the block runs, and then undone."""
        with closing(self.connect()) as session:
            session.autocommit = False
            yield session
            session.rollback()

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            for pid in _family(self.process.pid):
                with suppress(ProcessLookupError):  # one has just ended by itself
                    os.kill(pid, number)

    def _answers(self) -> bool:
        raise NotImplementedError

    superuser: str


class Postgres(DatabaseServer):
    user = superuser = "postgres"
    engine = "django.db.backends.postgresql"
    impatient = {"options": "-c lock_timeout=300ms"}
    serializable = {"isolation_level": 4}
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    lock_table = "LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE"
    last_signal = signal.SIGQUIT

    @classmethod
    def found(cls) -> bool:
        return bool(cls._programs())

    @staticmethod
    def _programs() -> list[Path]:
        places = Path("/usr/lib/postgresql").glob("*/bin/initdb")
        return sorted(path.parent for path in places) or [
            Path(path).parent for path in [shutil.which("initdb")] if path
        ]

    def make(self) -> None:
        command = [str(self._programs()[-1] / "initdb"), "-D", str(self.folder / "data")]
        command += ["-U", self.superuser, "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **self.owner)

    def command(self) -> list[str]:
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "16MB",
        }
        pairs = [text for name in options for text in ("-c", f"{name}={options[name]}")]
        return [str(self._programs()[-1] / "postgres"), "-D", str(self.folder / "data"), *pairs]

    def connect(self, name: str = _NAME) -> Any:
        import psycopg

        address = {"host": "127.0.0.1", "port": self.port, "user": self.superuser}
        return psycopg.connect(**address, dbname=name, autocommit=True, connect_timeout=10)

    def cut_off(self) -> int:
        return len(
            self.ask(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND pid <> pg_backend_pid()",
                _NAME,
            )
        )

    def make_database(self) -> None:
        self.ask(f"CREATE DATABASE {_NAME}", name="postgres")

    def _answers(self) -> bool:
        import psycopg

        try:
            return bool(self.ask("SELECT 1", name="postgres"))
        except psycopg.OperationalError:
            return False


class MariaDB(DatabaseServer):
    user = "mysql"
    superuser = "root"
    engine = "django.db.backends.mysql"
    impatient = {"init_command": "SET innodb_lock_wait_timeout=1, lock_wait_timeout=1"}
    serializable = {"isolation_level": "serializable"}
    waiting = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    lock_table = "LOCK TABLES {} WRITE"

    @classmethod
    def found(cls) -> bool:
        return all(map(shutil.which, ("mariadbd", "mariadb-install-db")))

    def make(self) -> None:
        data = self.folder / "data"
        command = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db"]
        command += ["--auth-root-authentication-method=normal"]
        command += [f"--user={self.user}"] if self.owner else []
        subprocess.run(command, check=True, capture_output=True, cwd="/")

    def command(self) -> list[str]:
        return [
            shutil.which("mariadbd") or "mariadbd",
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            f"--socket={self.folder / 'socket'}",
            f"--pid-file={self.folder / 'pid'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            # Of 0 the last second would be lost with the process: commits that were answered.
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-buffer-pool-size=32M",
        ]

    def settings(self, **options: Any) -> dict[str, Any]:
        return super().settings(**{"charset": "utf8mb4", **options})

    def connect(self, name: str = _NAME) -> Any:
        import MySQLdb

        address = {"host": "127.0.0.1", "port": self.port, "user": self.superuser}
        session = MySQLdb.connect(**address, database=name, connect_timeout=10)
        session.autocommit(True)
        return session

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with closing(self.connect()) as session:
            session.autocommit(False)
            yield session
            session.rollback()

    def cut_off(self) -> int:
        import MySQLdb

        with closing(self.connect()) as session:
            others = asked(
                session,
                "SELECT id FROM information_schema.processlist"
                " WHERE db = %s AND id <> CONNECTION_ID()",
                _NAME,
            )
            for (number,) in others:
                try:
                    asked(session, f"KILL {number}")
                except MySQLdb.OperationalError as gone:
                    if gone.args[0] != _NO_SUCH_SESSION:
                        raise
        return len(others)

    def make_database(self) -> None:
        self.ask(f"CREATE DATABASE {_NAME} CHARACTER SET utf8mb4", name="mysql")

    def _answers(self) -> bool:
        import MySQLdb

        try:
            return bool(self.ask("SELECT 1", name="mysql"))
        except MySQLdb.OperationalError:
            return False


class SqliteFile:
    """A file; there is nothing to stop, but a writer who keeps all others waiting."""

    impatient = {"timeout": 0.3}
    serializable: dict[str, Any] = {}

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="simpletask3-outages-"))
        self.path = self.folder / f"{_NAME}.sqlite3"

    def settings(self, **options: Any) -> dict[str, Any]:
        begun = {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"}
        name = str(self.path)
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": name,
            "OPTIONS": {**begun, "timeout": 20, **options},
        }

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """The one writer."""
        with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as session:
            session.execute("BEGIN IMMEDIATE")
            yield session
            session.rollback()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def asked(session: Any, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """The answer to ``sql``; [] if it is none."""
    with closing(session.cursor()) as cursor:
        cursor.execute(sql, parameters or None)
        return list(cursor.fetchall()) if cursor.description else []


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def _family(pid: int) -> list[int]:
    """A process and its children, in this order: who is frozen first makes no more of them."""
    children = []
    for task in (_PROC / str(pid) / "task").iterdir():
        children += map(int, (task / "children").read_text().split())
    return [pid, *children]
