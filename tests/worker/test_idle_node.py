"""A node that has nothing to do."""

import signal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

import django_simpletask3
from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.steps import status_of
from tests.testapp.models import Invoice, Scripted
from tests.worker.conftest import Start
from tests.worker.processes import group
from tests.worker.start_stop_cycles import CONNECTIONS


def sessions(node: int) -> int:
    """Connections to the database ``default`` that the processes of ``node`` hold."""
    if (query := CONNECTIONS.get(connection.vendor)) is None:
        return sum(_open_files(pid) for pid in group(node))
    with connection.cursor() as cursor:
        cursor.execute(query)
        return int(cursor.fetchone()[0]) - 1


def _open_files(pid: int) -> int:
    name = str(settings.DATABASES["default"]["NAME"])
    return sum(_is_link_to(name, path) for path in Path(f"/proc/{pid}/fd").iterdir())


def _is_link_to(name: str, path: Path) -> bool:
    try:
        return str(path.readlink()) == name
    except FileNotFoundError:
        return False


@pytest.mark.one_server
def test_threads_without_work_hold_no_connection_to_the_database(start_server: Start) -> None:
    tasks = [Invoice.objects.create() for _ in range(4)]
    node = start_server("--models", "testapp.Invoice")
    eventually(lambda: {status_of(task) for task in tasks} == {Status.SUCCESS})

    # Now and then a thread looks after the rows; in between no session is open.
    eventually(lambda: sessions(node.pid) == 0)


@pytest.mark.one_server
@pytest.mark.parametrize("verbosity", ["0", "1"])
def test_where_there_is_no_terminal_nothing_is_drawn(start_server: Start, verbosity: str) -> None:
    task = Invoice.objects.create()
    node = start_server("--models", "testapp.Invoice", "-v", verbosity)
    eventually(lambda: status_of(task) == Status.SUCCESS)

    node.send_signal(signal.SIGTERM)
    output, _ = node.communicate(timeout=60)

    assert "\r" not in output
    assert "." * 3 not in output


#: What a worker needs not, although its project has Django's admin; parts of a page stand for it.
NOT_FOR_WORKERS = {
    f"django_simpletask3.{name}"
    for name in (
        "admin.actions.downloads",
        "admin.actions.preview",
        "admin.dashboard.charts",
        "admin.dashboard.content",
        "admin.ledger.page",
        "admin.recoveries.page",
        "admin.task_page.head.buttons",
        "admin.task_page.lanes",
        "admin.task_page.page",
        "audit.check",
        "audit.export",
        "monitoring.problems",
        "monitoring.recovery_report",
        "monitoring.statistics",
        "testing.run",
    )
}


@pytest.mark.one_server
def test_a_worker_imports_no_page_of_the_admin(drain: Any) -> None:
    task = Scripted.objects.create(script={"do": "list modules"})

    drain()

    imported = set(Scripted.objects.get(pk=task.pk).result_data)
    assert "django_simpletask3.admin.task_admin" in imported
    assert not imported & NOT_FOR_WORKERS


def test_what_a_worker_imports_not_is_there() -> None:
    folder = Path(django_simpletask3.__file__).parent.parent

    missing = [n for n in NOT_FOR_WORKERS if not (folder / f"{n.replace('.', '/')}.py").is_file()]

    assert not missing
