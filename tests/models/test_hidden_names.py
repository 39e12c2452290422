"""A model may have columns called as the methods of a task: the package works all the same."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import Client

from django_simpletask3.checks.names import RESERVED_NAMES
from django_simpletask3.models import SimpleTask, prefetch_runs
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.recovery import service
from django_simpletask3.states import EventKind, Status
from tests.admin.pages import CANCEL, EXECUTE, EXECUTE_HERE, HOLD, LIFT, RESET, post_action, url
from tests.eventually import eventually
from tests.steps import bring_to, create_task, kinds, row_of, run_command, status_of
from tests.testapp.models import Hiding
from tests.worker.conftest import Start, drain, start_server  # noqa: F401 - fixtures

pytestmark = pytest.mark.django_db


def own_columns(task: Any) -> dict[str, str]:
    row = row_of(task)
    return {name: vars(row)[name] for name in RESERVED_NAMES}


def test_the_columns_hide_what_they_are_called_after() -> None:
    task = create_task(Hiding)

    assert {vars(task)[name] for name in RESERVED_NAMES} == {task.note} == {"mine"}


def test_methods_are_those_of_simple_task() -> None:
    task = create_task(Hiding)

    SimpleTask.note(task, "seen", page=3)
    SimpleTask.hold(task, "law")
    is_held = SimpleTask.is_held.fget(task)  # type: ignore[attr-defined]
    SimpleTask.lift(task)
    SimpleTask.block(task)
    SimpleTask.unblock(task)
    SimpleTask.cancel(task)
    SimpleTask.erase(task)
    SimpleTask.wait(task)
    SimpleTask.reset(task, "again")

    assert is_held
    done = ["note", "hold", "lift", "block", "unblock", "cancel", "reset"]
    assert kinds(task) == ["enqueue", *done]
    assert set(own_columns(task).values()) == {"mine"}


@pytest.mark.django_db(transaction=True)
def test_methods_for_coroutines_find_them_too() -> None:
    task = create_task(Hiding)

    async def use() -> None:
        await SimpleTask.anote(task, "seen")
        await SimpleTask.acancel(task)
        await SimpleTask.areset(task)

    async_to_sync(use)()  # with the connection of this thread

    assert kinds(task) == ["enqueue", "note", "cancel", "reset"]


def test_runs_are_read_and_prefetched() -> None:
    task = bring_to(create_task(Hiding), Status.SUCCESS)

    prefetch_runs([task])

    [run] = SimpleTask.runs.fget(task)  # type: ignore[attr-defined]
    assert run.outcome == EventKind.ACK


@pytest.mark.thorough
@pytest.mark.django_db(transaction=True)
def test_a_worker_runs_it_and_saves_the_columns(drain: Callable[..., str]) -> None:  # noqa: F811
    good = create_task(Hiding)
    bad = create_task(Hiding, script={"do": "raise"})

    output = drain("--models", "testapp.Hiding")

    assert (status_of(good), status_of(bad)) == (Status.SUCCESS, Status.FAILED)
    changed = {"wait": "changed", "once": "changed"}
    assert own_columns(good) == {**dict.fromkeys(RESERVED_NAMES, "mine"), **changed}
    assert "Traceback" not in output.replace("ValueError", "").split("task_fail")[0]


@pytest.mark.thorough
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("end", ["cancel", "stop"])
def test_a_running_one_is_stopped(
    start_server: Start,  # noqa: F811
    tmp_path: Path,
    end: str,
) -> None:
    here, stopped = tmp_path / "here", tmp_path / "stopped"
    steps = [("touch", here), ("work until stopped", stopped)]
    task = create_task(Hiding, script=[{"do": do, "path": str(path)} for do, path in steps])
    server = start_server("--models", "testapp.Hiding", DJANGO_SIMPLETASK3_SHUTDOWN_GRACE="2")
    eventually(here.exists)

    if end == "cancel":
        SimpleTask.cancel(task)
    else:
        server.send_signal(signal.SIGTERM)

    eventually(stopped.exists)
    expected = Status.CANCELED if end == "cancel" else Status.PENDING
    eventually(lambda: status_of(task) == expected)


@pytest.mark.django_db(transaction=True)
def test_a_lost_one_is_recovered_and_audited() -> None:
    task = bring_to(create_task(Hiding), Status.RUNNING)
    rows_of(Hiding, "default").filter(pk=task.pk).update_managed(check_at=task.add_time)

    service.recover_expired_leases()

    assert kinds(task) == ["enqueue", "start", "recover"]
    assert run_command("django-simpletask3-audit")[1] == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("action", [EXECUTE, EXECUTE_HERE, CANCEL, HOLD, LIFT, RESET])
def test_the_admin_shows_and_moves_it(admin_client: Client, action: str) -> None:
    task = create_task(Hiding)
    if action == LIFT:
        SimpleTask.hold(task)

    post_action(admin_client, action, task)

    assert len(kinds(task)) > (2 if action == LIFT else 1)
    for page in (url(Hiding), url(task), url(task, "timeline")):
        assert admin_client.get(page).status_code == 200
    assert set(own_columns(task).values()) <= {"mine", "changed"}


def test_what_is_saved_in_the_admin_are_the_columns(admin_client: Client) -> None:
    task = create_task(Hiding)
    form = admin_client.get(url(task)).context["adminform"].form
    data = {name: value for name, value in form.initial.items() if value is not None}

    answer = admin_client.post(
        url(task), {**data, "script": '{"do": "value"}', "note": "edited", "done_at": "late"}
    )

    assert answer.status_code == 302, answer.context["adminform"].form.errors
    assert (own_columns(task)["note"], row_of(task).done_at) == ("edited", "late")
