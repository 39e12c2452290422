"""A server of the run's own kind, a project on it, and a node that works there."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.db import connections
from pytest_django import DjangoDbBlocker

from tests.conftest import missing
from tests.eventually import eventually
from tests.worker.outages.servers import DatabaseServer, MariaDB, Postgres, SqliteFile

KINDS: dict[str, type[DatabaseServer]] = {"postgres": Postgres, "mysql": MariaDB}
VENDOR = settings.DATABASE_URL.partition(":")[0]

StartNode = Callable[..., "Node"]


class Node:
    """A ``django-simpletask3-server`` and what it has said."""

    def __init__(self, log: Path, environment: dict[str, str], *arguments: str) -> None:
        self._log = log
        command = [sys.executable, "-m", "django", "django-simpletask3-server"]
        command += ["--models", "testapp.Scripted", "-v", "2", *arguments]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=output, start_new_session=True
            )

    def count(self, words: str) -> int:
        """How often it has said so."""
        return self.said().count(words)

    def said(self) -> str:
        return self._log.read_text()

    def end(self) -> None:
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="session")
def any_server() -> Iterator[Any]:
    """The server of this session, or the file, with all tables made."""
    if VENDOR != "sqlite" and not KINDS[VENDOR].found():
        missing(f"the programs of a {VENDOR} server")
    server: Any = SqliteFile() if VENDOR == "sqlite" else KINDS[VENDOR]()
    try:
        if isinstance(server, DatabaseServer):
            server.make()
            server.start()
            server.make_database()
        command = [sys.executable, "-m", "django", "migrate", "--run-syncdb", "-v", "0"]
        subprocess.run(command, env=environment_of(server.settings()), check=True)
        yield server
    finally:
        server.remove()


def environment_of(database: dict[str, Any]) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.worker.outages.settings",
        "SIMPLETASK3_OUTAGE_DATABASE": json.dumps(database),
    }


@pytest.fixture
def server(request: pytest.FixtureRequest) -> DatabaseServer:
    """A server that a test may break; tests of servers are no tests on SQLite."""
    if VENDOR == "sqlite":
        pytest.skip("SQLite has no server")
    found: DatabaseServer = request.getfixturevalue("any_server")
    return found


@pytest.fixture
def file(request: pytest.FixtureRequest) -> SqliteFile:
    """A file that a test may keep others from writing."""
    if VENDOR != "sqlite":
        pytest.skip("only SQLite has one lock for everything")
    found: SqliteFile = request.getfixturevalue("any_server")
    return found


@pytest.fixture(autouse=True)
def project(any_server: Any, redis_url: str, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The test itself uses the same database, as any web process does."""
    with django_db_blocker.unblock(), _pointed_at(any_server.settings()):
        yield
    if isinstance(any_server, DatabaseServer) and any_server.process is None:
        any_server.start()


@contextmanager
def _pointed_at(database: dict[str, Any]) -> Iterator[None]:
    theirs = connections.settings["default"]
    _replace(connections.configure_settings({"default": database})["default"])
    try:
        yield
    finally:
        _replace(theirs)


def _replace(database: dict[str, Any]) -> None:
    connections["default"].close()
    del connections["default"]
    connections.settings["default"] = database
    ContentType.objects.clear_cache()


@pytest.fixture
def start_node(
    any_server: Any, project: None, tmp_path: Path, redis_client: Any
) -> Iterator[StartNode]:
    """Start a node with these options of its database; it is killed after the test."""
    nodes: list[Node] = []

    def start(**options: Any) -> Node:
        log = tmp_path / f"node-{len(nodes)}.log"
        nodes.append(Node(log, environment_of(any_server.settings(**options))))
        return nodes[-1]

    yield start
    for node in nodes:
        node.end()
    # Else a message of the next test may be given to one of them.
    eventually(lambda: redis_client.info("clients")["blocked_clients"] == 0)
