"""A burst runs every due task of the rows, whatever Redis knows, and ends."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command
from django.db import connections, transaction

from django_simpletask3.queue import get_queue
from django_simpletask3.schedules.tables import ScheduleTick
from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.redis_servers import RedisServer
from tests.schedules.steps import make_schedule
from tests.steps import status_of
from tests.testapp.models import Invoice, Ledger, Scripted
from tests.worker.conftest import Start
from tests.worker.processes import group

pytestmark = pytest.mark.one_server

COMMAND = "django-simpletask3-server"
MODELS = "testapp.Scripted,testapp.Invoice,testapp.Ledger"
Drain = Callable[..., str]


def waiting(count: int = 3) -> list[Scripted]:
    return [Scripted.objects.create() for _ in range(count)]


def all_succeeded(*tasks: Any) -> bool:
    return {status_of(task) for task in tasks} == {Status.SUCCESS}


def log_lines(output: str) -> list[str]:
    return [line for line in output.splitlines() if " WARNING " in line or " ERROR " in line]


def test_an_emptied_redis_leaves_no_task_behind(drain: Drain, redis_client: Any) -> None:
    tasks = [*waiting(), Invoice.objects.create()]
    redis_client.flushall()

    drain("--models", MODELS)

    assert all_succeeded(*tasks)


def test_the_tasks_of_ticks_that_are_due_are_run(drain: Drain) -> None:
    begin = datetime.now(UTC) - timedelta(hours=2)
    make_schedule(cron="", interval=timedelta(hours=1), active_since=begin)

    drain("--models", MODELS)

    assert all_succeeded(Invoice.objects.get())
    assert ScheduleTick.objects.get().outcome == "fired"


def test_messages_that_were_lost_one_by_one_leave_no_task_behind(drain: Drain) -> None:
    tasks = waiting()
    get_queue().write_marker()
    get_queue().cancel_many(tasks[0].get_event_channel(), [tasks[0].get_task_id()])

    drain("--models", MODELS)

    assert all_succeeded(*tasks)


def test_a_message_that_a_dead_worker_has_claimed_leaves_no_task_behind(drain: Drain) -> None:
    tasks = waiting()
    get_queue().claim(tasks[0].get_event_channel(), worker="elsewhere:1:x", limit=1, lease=600)

    drain("--models", MODELS)

    assert all_succeeded(*tasks)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_without_redis_it_takes_all_due_tasks_from_the_tables_and_warns_once(
    own_redis_server: RedisServer, start_server: Start, processes: str
) -> None:
    tasks = [*waiting(), Invoice.objects.create(), Ledger.objects.create()]
    own_redis_server.kill()
    tasks += waiting()

    server = start_server(
        "--burst",
        "--models",
        MODELS,
        "--processes",
        processes,
        DJANGO_SIMPLETASK3_SIMQ_REDIS_URL=own_redis_server.url,
    )
    output, _ = server.communicate(timeout=60)

    assert server.returncode == 0, output
    assert all_succeeded(*tasks)
    # Of two processes each warns, and so does the one that serves what they have enqueued.
    # Two processes may also meet at a row: "finish_postponed", locked by another transaction.
    about_redis = [line for line in log_lines(output) if "redis" in line.lower()]
    events = [line.split()[3] for line in about_redis]
    assert events == ["redis_unavailable"] * (1 if processes == "1" else 3), output


def test_a_redis_that_wants_another_password_is_no_reason_to_stay(
    own_redis_server: RedisServer, start_server: Start
) -> None:
    tasks = waiting()
    with redis.Redis.from_url(own_redis_server.url) as client:
        client.config_set("requirepass", "secret")

    server = start_server(
        "--burst", "--models", MODELS, DJANGO_SIMPLETASK3_SIMQ_REDIS_URL=own_redis_server.url
    )
    output, _ = server.communicate(timeout=60)

    assert server.returncode == 0, output
    assert all_succeeded(*tasks)
    assert len(log_lines(output)) == 1


def test_a_task_that_is_enqueued_after_its_only_process_has_ended_is_run(
    start_server: Start, tmp_path: Path
) -> None:
    script = [{"do": "wait", "path": str(tmp_path / "go")}, {"do": "enqueue"}]
    Scripted.objects.create(script=script)
    models = "testapp.Scripted,testapp.Ledger"  # with one thread each: a process for each
    server = start_server(
        *("--burst", "--processes", "2", "--models", models),
        DJANGO_SIMPLETASK3_DEFAULT_SIMQ_WORKER_NUMBER="1",
    )
    eventually(lambda: len(group(server.pid)) == 3)
    eventually(lambda: len(group(server.pid)) == 2)

    (tmp_path / "go").touch()
    output, _ = server.communicate(timeout=60)

    assert server.returncode == 0, output
    assert [task.status for task in Ledger.objects.all()] == [Status.SUCCESS]


def test_a_row_that_cannot_be_read_does_not_keep_a_burst(drain: Drain) -> None:
    if connections["default"].vendor != "sqlite":
        pytest.skip("this database checks what is a time")
    tasks = waiting()
    with connections["default"].cursor() as cursor:
        sql = f"UPDATE {Scripted._meta.db_table} SET add_time = 'soon' WHERE id = %s"
        cursor.execute(sql, [tasks[0].pk])
    get_queue().cancel_many(tasks[0].get_event_channel(), [tasks[0].get_task_id()])

    drain("--models", MODELS)

    assert all_succeeded(*tasks[1:])


def test_a_database_that_does_not_answer_is_one_line_and_code_1(
    start_server: Start, tmp_path: Path
) -> None:
    path = tmp_path / "nowhere" / "db.sqlite3"

    server = start_server(
        "--burst",
        DJANGO_SETTINGS_MODULE="tests.worker.outages.settings",
        SIMPLETASK3_OUTAGE_DATABASE=f'{{"ENGINE": "django.db.backends.sqlite3", "NAME": "{path}"}}',
    )
    output, _ = server.communicate(timeout=60)

    assert server.returncode == 1
    assert output.splitlines() == [
        "CommandError: The database 'default' does not answer: unable to open database file"
    ]


def test_autocommit_that_is_off_is_one_clear_line(start_server: Start, tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"

    server = start_server(
        "--burst",
        DJANGO_SETTINGS_MODULE="tests.worker.outages.settings",
        SIMPLETASK3_OUTAGE_DATABASE=f'{{"ENGINE": "django.db.backends.sqlite3", "NAME": "{path}",'
        ' "AUTOCOMMIT": false}',
    )
    output, _ = server.communicate(timeout=60)

    assert server.returncode == 1
    assert len(output.splitlines()) == 1
    assert "DATABASES['default']['AUTOCOMMIT'] is False" in output


def refusal_in_thread() -> str:
    refused: list[str] = []

    def run() -> None:
        try:
            call_command(COMMAND, "--burst", verbosity=0)
        except CommandError as error:
            refused.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(timeout=30)
    return refused[0]


def test_in_a_thread_it_points_to_the_page_about_tests(transactional_db: None) -> None:
    assert "Test your tasks" in refusal_in_thread()


def test_inside_a_transaction_it_points_to_the_page_about_tests(transactional_db: None) -> None:
    with transaction.atomic(), pytest.raises(CommandError, match="Test your tasks"):
        call_command(COMMAND, "--burst", verbosity=0)


def test_with_a_database_in_memory_it_points_to_the_page_about_tests(start_server: Start) -> None:
    server = start_server(
        "--burst",
        DJANGO_SETTINGS_MODULE="tests.worker.outages.settings",
        SIMPLETASK3_OUTAGE_DATABASE='{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}',
    )
    output, _ = server.communicate(timeout=60)

    assert server.returncode == 1
    assert len(output.splitlines()) == 1
    assert "Test your tasks" in output


def shell(line: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    command = line.format(server=f"{sys.executable} -m django {COMMAND} --burst --models {MODELS}")
    return subprocess.Popen(
        ["bash", "-c", command],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("{server} >&- 2>&-", id="its streams are closed"),
        pytest.param("set -o pipefail; {server} | true", id="the reader of stdout has gone"),
        pytest.param("set -o pipefail; {server} 2>&1 | true", id="that of both has gone"),
    ],
)
def test_a_burst_without_a_reader_ends_in_order(
    line: str, transactional_db: None, redis_url: str
) -> None:
    tasks = waiting()
    get_queue().write_marker()

    process = shell(line)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 0
    assert all(word not in errors for word in ("Traceback", "Exception ignored", "BrokenPipe"))
    assert all_succeeded(*tasks)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_a_node_that_nohup_started_goes_on_when_the_terminal_closes(
    start_server: Start, tmp_path: Path
) -> None:
    Scripted.objects.create(script=[{"do": "touch", "path": str(tmp_path / "here")}])
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    server = start_server("--models", MODELS, STARTED_BY="nohup")  # not by the fork server
    signal.signal(signal.SIGHUP, before)
    eventually((tmp_path / "here").exists)

    # A signal that does nothing cannot be waited for.
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    ignored = next(int(line.split()[1], 16) for line in lines if line.startswith("SigIgn"))
    assert ignored & 1 << signal.SIGHUP - 1


def test_a_terminal_that_closes_stops_the_node_in_order(
    start_server: Start, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    script = [{"do": "touch", "path": str(here)}, {"do": "wait", "path": str(tmp_path / "go")}]
    task = Scripted.objects.create(script=script)
    server = start_server("--models", MODELS, DJANGO_SIMPLETASK3_SHUTDOWN_GRACE="0.5")
    eventually(here.exists)

    os.killpg(server.pid, signal.SIGHUP)
    output, _ = server.communicate(timeout=60)

    assert server.returncode == 0, output
    assert [e.reason for e in task.events.all() if e.kind == "release"] == ["worker_stopping"]
    assert group(server.pid) == []
