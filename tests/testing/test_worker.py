"""Tests that start a real node: ``task_worker()``."""

import os
import signal
from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.db.transaction import TransactionManagementError

from django_simpletask3.queue import get_queue
from django_simpletask3.states import Status
from django_simpletask3.testing import (
    TaskWorker,
    assertTaskEvents,
    eager_tasks,
    run_tasks,
    task_worker,
)
from django_simpletask3.testing.worker import _databases
from tests.eventually import eventually
from tests.forked import django_process
from tests.projects import INVOICE, Project, sqlite
from tests.steps import status_of
from tests.testapp.models import Customer, Scripted
from tests.worker.processes import group

StartWorker = Callable[..., TaskWorker]

pytestmark = pytest.mark.thorough


def waiting_for(path: Path) -> Scripted:
    return Scripted.objects.create(script=[{"do": "wait", "path": str(path)}])


@pytest.mark.parametrize("redis", [False, True], ids=["polling", "redis"])
def test_a_node_runs_tasks_is_killed_and_started_again(
    task_worker: StartWorker, tmp_path: Path, redis: bool
) -> None:
    worker = task_worker(Scripted, redis=redis)
    task, quick = waiting_for(tmp_path / "go"), Scripted.objects.create()
    assert get_queue().has_messages is redis
    worker.wait_for(quick)
    worker.wait_for(task, status=Status.RUNNING)

    worker.kill()
    with pytest.raises(AssertionError, match="does not run"):
        worker.wait_for(task)
    (tmp_path / "go").touch()
    worker.start()
    worker.wait_for(task)
    worker.stop()

    assertTaskEvents(task, "enqueue", "start", "recover", "start", "ack")
    assertTaskEvents(quick, "enqueue", "start", "ack")
    assert "node_stopping" in worker.log


def test_the_settings_of_the_test_are_those_of_the_node(
    task_worker: StartWorker, settings: Any
) -> None:
    settings.DEFAULT_SIMQ_WORKER_NUMBER = 17
    settings.DJANGO_SIMPLETASK3_SHUTDOWN_GRACE = timedelta(seconds=7)

    worker = task_worker(Scripted)
    worker.wait_for(Scripted.objects.create())
    worker.stop()

    assert "17 threads" in worker.log
    assert "node_stopping grace=7.0" in worker.log


def test_a_password_that_is_none_stays_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "PASSWORD", None)

    assert _databases()["default"]["PASSWORD"] is None


@pytest.mark.django_db(transaction=True)
def test_a_node_that_ends_by_itself_fails_the_test_with_its_log() -> None:
    task = Scripted.objects.create(script=[{"do": "wait", "path": "/nowhere"}])

    def kill_and_wait() -> None:
        with task_worker(Scripted) as worker:
            worker.wait_for(task, status=Status.RUNNING)
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait_for(task)

    def kill_and_end() -> None:
        with task_worker(Scripted) as worker:
            os.killpg(worker.pid, signal.SIGKILL)
            eventually(lambda: not _is_alive(worker.pid))

    with pytest.raises(AssertionError, match=r"The node ended with -9; (?s:.*)log of the node"):
        kill_and_wait()
    with pytest.raises(AssertionError, match="The node ended with -9"):
        kill_and_end()


def _is_alive(pid: int) -> bool:
    return " Z " not in f" {Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2]} "


KILLED = """
from django_simpletask3.testing import task_worker
from tests.testapp.models import Scripted
with task_worker(Scripted, redis=True) as worker:
    task = Scripted.objects.create(script=[{"do": "wait for ever"}])
    worker.wait_for(task, status=Scripted.RUNNING)
    print(worker.pid, worker._log.parent, flush=True)
    worker.wait_for(task)
"""


def test_a_node_ends_with_a_test_process_that_is_killed(transactional_db: None) -> None:
    process = django_process("shell", "-v", "0", "-c", KILLED)
    assert process.stdout is not None
    pid, folder = process.stdout.readline().split()
    assert len(group(int(pid))) > 1
    started = set(folder_users(folder))

    process.kill()
    process.communicate(timeout=30)

    eventually(lambda: group(int(pid)) == [])
    eventually(lambda: not Path(folder).exists() and not started & set(folder_users(folder)))


def folder_users(folder: str) -> list[str]:
    """The processes whose command, or folder, is in ``folder``: a server of Redis."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if folder in (path / "cmdline").read_text() or folder in str((path / "cwd").readlink()):
                found.append(path.name)
    return found


def test_a_task_that_ends_in_another_way_fails_the_test_at_once(task_worker: StartWorker) -> None:
    task = Scripted.objects.create(script=[{"do": "fail"}])

    with pytest.raises(AssertionError, match=r"is Failed\.(?s:.*)testapp\.Scripted"):
        task_worker(Scripted).wait_for(task, status=Status.SUCCESS)


def test_closing_a_node_ends_its_grace_time(task_worker: StartWorker) -> None:
    worker = task_worker(Scripted)
    task = Scripted.objects.create(script=[{"do": "wait for ever"}])
    worker.wait_for(task, status=Status.RUNNING)

    worker._close()

    assert "node_stopping grace=0" in worker.log
    assert "stopped: " in worker.log


def test_a_task_that_waits_too_long_says_why(task_worker: StartWorker) -> None:
    task = Scripted.objects.enqueue(blocked="for ever")

    with pytest.raises(AssertionError, match=r"after 0\.2 s\. It is blocked since"):
        task_worker(Scripted).wait_for(task, timeout=0.2)


@pytest.mark.django_db(transaction=True)
def test_the_log_is_a_note_of_a_test_that_fails() -> None:
    def fail() -> None:
        with task_worker(Scripted) as worker:
            worker.wait_for(Scripted.objects.create())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        fail()

    assert "django-simpletask3" in raised.value.__notes__[0]
    assert get_queue().has_messages


@pytest.mark.parametrize(
    "wrong", [Customer, Scripted(), "testapp.Scripted"], ids=["model", "task", "text"]
)
def test_what_is_no_task_model_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r" is no task model\.$"), task_worker(wrong):
        pass


@pytest.mark.parametrize("wrong", [Scripted, [Scripted()]], ids=["model", "list"])
def test_what_is_no_task_is_not_waited_for(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(TypeError, match=r" is no task\."):
        TaskWorker([], tmp_path / "log").wait_for(wrong)


@pytest.mark.django_db
def test_what_an_instance_had_before_does_not_count(tmp_path: Path) -> None:
    task = Scripted.objects.create()
    run_tasks(task)
    Scripted.objects.get(pk=task.pk).reset()

    with pytest.raises(AssertionError, match="does not run"):
        TaskWorker([], tmp_path / "log").wait_for(task)

    assert task.status == Status.PENDING


def test_a_task_that_was_in_the_status_has_come(
    task_worker: StartWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = waiting_for(tmp_path / "first")
    waits = [{"do": "wait", "path": str(tmp_path / "second")}]
    second = Scripted.objects.enqueue(script=waits, blocked="until the first one has ended")
    worker = task_worker(Scripted)

    def refresh_from_db(**options: Any) -> None:
        if first.status == Status.RUNNING and second.status == Status.BLOCKED:
            (tmp_path / "first").touch()
            eventually(lambda: status_of(first) is Status.SUCCESS)
            Scripted.objects.get(pk=second.pk).unblock()
        Scripted.refresh_from_db(second, **options)

    monkeypatch.setattr(second, "refresh_from_db", refresh_from_db)
    worker.wait_for(first, second, status=Status.RUNNING)
    monkeypatch.undo()
    (tmp_path / "second").touch()
    worker.wait_for(first, second)

    assert [first.status, second.status] == [Status.SUCCESS] * 2


@pytest.mark.django_db
@pytest.mark.parametrize("block", [nullcontext, eager_tasks])
def test_in_a_transaction_it_is_refused(block: Any) -> None:
    with (
        block(),
        pytest.raises(TransactionManagementError, match="use TransactionTestCase"),
        task_worker(),
    ):
        pass


MODULE = """
from django.test import TransactionTestCase
from app.models import Invoice
from django_simpletask3.testing import task_worker


class Tests(TransactionTestCase):
    def test_a_node(self):
        with task_worker(Invoice) as worker:
            task = Invoice.objects.create()
            worker.wait_for(task)
            self.assertEqual(task.result_data, "paid")
        self.assertEqual(Invoice.objects.count(), 1)


class More(Tests):
    pass
"""


@pytest.fixture
def polling_project(tmp_path: Path) -> Project:
    project = Project(tmp_path, sqlite(tmp_path), "none://", "q")
    project.models(INVOICE)
    project.write("app_tests.py", MODULE)
    project.manage("makemigrations", "app")
    return project


@pytest.mark.once
def test_it_works_in_parallel_and_with_a_kept_database(polling_project: Project) -> None:
    name = str(polling_project.folder / "test.sqlite3")
    polling_project.write(
        "settings.py",
        (polling_project.folder / "settings.py").read_text()
        + f"DATABASES['default']['TEST'] = {{'NAME': {name!r}}}\n",
    )

    # Not forked: Django's runner has processes of its own.
    command = ["manage.py", "test", "app_tests", "--parallel", "2", "--keepdb"]
    output = polling_project.run_python(*command)
    again = polling_project.run_python("manage.py", "test", "app_tests", "--keepdb")

    assert "Ran 2 tests" in output.text, output.text
    assert (output.code, again.code) == (0, 0), output.text + again.text


@pytest.mark.once
def test_a_database_in_memory_is_an_error_that_says_what_to_do(polling_project: Project) -> None:
    output = polling_project.run_python("manage.py", "test", "app_tests")

    assert output.code == 1
    assert "['TEST'] = {'NAME': BASE_DIR / 'test.sqlite3'}" in output.text
