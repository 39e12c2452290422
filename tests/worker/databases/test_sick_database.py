"""A database that refuses or hangs: what is in the others is started, recorded and recovered."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from django_simpletask3.queue import get_queue
from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.settings import DATABASES
from tests.steps import bring_to, kinds, status_of
from tests.testapp.models import Everywhere, Invoice, Reminder, Scripted
from tests.worker.conftest import Start
from tests.worker.processes import lines

NODE = {
    "DJANGO_SETTINGS_MODULE": "tests.worker.databases.settings",
    "DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT": "3",
    "DJANGO_SIMPLETASK3_SHUTDOWN_GRACE": "1",
}
FORGED = {"app_label": "testapp", "model_name": "reminder", "id": 1, "using": "sick"}

pytestmark = pytest.mark.thorough


@contextmanager
def hanging_port() -> Iterator[int]:
    """A port whose server takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:
        yield server.getsockname()[1]


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port where nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


def sick_database(port: int) -> dict[str, str]:
    """The environment of a node whose database ``sick`` is at ``port``, of the kind of this run."""
    database = {**DATABASES["default"], "NAME": "sick", "HOST": "127.0.0.1", "PORT": str(port)}
    if connection.vendor == "sqlite":
        database["ENGINE"] = "tests.worker.databases.served_sqlite"
    return {"SIMPLETASK3_SICK_DATABASE": json.dumps(database)}


@pytest.fixture(params=[hanging_port, refusing_port], ids=["hangs", "refuses"])
def sick(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The environment of a node one of whose databases is down."""
    with request.param() as port:
        yield {**NODE, **sick_database(port)}


class Proxy:
    """A port that leads to a database server, until it hangs."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._is_hanging = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self._sockets = [self._listener]
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def hang(self) -> None:
        self._is_hanging.set()

    def close(self) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._sockets += [client, server]
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=ends, daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self._is_hanging.is_set():
                    return  # and keeps both open
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A way to the server of this run."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no server")
    database = connection.settings_dict
    proxy = Proxy((database["HOST"], int(database["PORT"])))
    yield proxy
    proxy.close()


def assert_all_succeed(*tasks: Any) -> None:
    eventually(lambda: {status_of(task) for task in tasks} == {Status.SUCCESS}, timeout=30)


def test_a_database_that_is_down_delays_no_start_in_another(
    start_server: Start, sick: dict[str, str]
) -> None:
    forged = [(f"forged {n}", FORGED) for n in range(30)]
    get_queue().push(Reminder.get_event_channel(), forged)
    tasks = [Reminder(text=str(n)) for n in range(5)]
    for n, task in enumerate(tasks):
        task.save(using=("default", "other")[n % 2])

    start_server("--models", "testapp.Reminder,testapp.Invoice", **sick)

    assert_all_succeed(*tasks, Invoice.objects.create())


def test_a_database_that_is_down_delays_no_recovery_in_another(
    start_server: Start, sick: dict[str, str], tmp_path: Any
) -> None:
    script = [{"do": "touch", "path": f"{tmp_path}/here"}, {"do": "wait", "path": f"{tmp_path}/go"}]
    long = Scripted.objects.create(script=script)
    lost = bring_to(Invoice.objects.create(), Status.RUNNING)
    Invoice.objects.update_managed(check_at=timezone.now())
    soon = Reminder.objects.create(run_after=timezone.now() + timedelta(seconds=4))

    start_server("--models", "testapp.Reminder,testapp.Invoice,testapp.Scripted", **sick)

    assert_all_succeed(lost, soon)
    (tmp_path / "go").touch()
    assert_all_succeed(long)
    assert kinds(long) == ["enqueue", "start", "ack"]
    assert kinds(lost) == ["enqueue", "start", "recover", "start", "ack"]


def test_a_database_that_hangs_while_its_tasks_run_delays_no_outcome_of_another(
    start_server: Start, proxy: Proxy, tmp_path: Any
) -> None:
    def scripted(using: str) -> Everywhere:
        steps = [{"do": "append", "path": f"{tmp_path}/here"}, {"do": "wait", "path": go}]
        task = Everywhere(script=steps)
        task.save(using=using)
        return task

    go = str(tmp_path / "go")
    there = [scripted("other") for _ in range(3)]
    here = scripted("default")
    database = {**DATABASES["other"], "HOST": "127.0.0.1", "PORT": proxy.port}
    environment = {**NODE, "SIMPLETASK3_SICK_DATABASE": json.dumps(database)}
    start_server("--models", "testapp.Everywhere", SIMPLETASK3_SICK_ALIAS="other", **environment)
    eventually(lambda: len(lines(tmp_path / "here")) == 4)

    proxy.hang()
    (tmp_path / "go").touch()

    later = scripted("default")
    assert_all_succeed(here, later)
    assert kinds(here) == ["enqueue", "start", "ack"]
    assert {status_of(task) for task in there} == {Status.RUNNING}
