"""A database that refuses or hangs: what is in the others is started, recorded and recovered."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from django_simpletask3.queue import get_queue
from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.steps import status_of
from tests.testapp.models import Invoice, Reminder
from tests.worker.conftest import Start

NODE = {
    "DJANGO_SETTINGS_MODULE": "tests.worker.databases.settings",
    "DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT": "3",
    "DJANGO_SIMPLETASK3_SHUTDOWN_GRACE": "1",
}
FORGED = {"app_label": "testapp", "model_name": "reminder", "id": 1, "using": "sick"}


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
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "sick",
        "USER": "postgres",
        "HOST": "127.0.0.1",
        "PORT": str(port),
    }
    return {"SIMPLETASK3_SICK_DATABASE": json.dumps(database)}


@pytest.fixture(params=[hanging_port, refusing_port], ids=["hangs", "refuses"])
def sick(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The environment of a node one of whose databases is down."""
    with request.param() as port:
        yield {**NODE, **sick_database(port)}


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
