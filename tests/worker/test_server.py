"""The command, as a person starts and stops it."""

import os
import signal
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from django_simpletask3.ledger.encoding import TAG
from django_simpletask3.queue import get_queue
from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.queue.test_rights import grant
from tests.redis_servers import RedisServer
from tests.steps import kinds, status_of
from tests.testapp import models as testapp
from tests.testapp.models import Hurried, HurriedCoroutine, Invoice, Scripted
from tests.testapp.scripts import COROUTINES, UNUSUAL_VALUES
from tests.worker.conftest import Start
from tests.worker.processes import freeze

Drain = Callable[..., str]


def says(server: "subprocess.Popen[str]", words: str) -> None:
    """Read what the server prints until it says so."""
    assert server.stdout is not None
    for line in server.stdout:
        if words in line:
            return
    raise AssertionError(f"the server ended without saying {words}")


def stopped(server: "subprocess.Popen[str]", number: int = signal.SIGTERM) -> tuple[int, str]:
    server.send_signal(number)
    output, _ = server.communicate(timeout=60)
    return server.returncode, output


def test_a_saved_task_is_run_and_its_own_columns_are_saved(drain: Drain) -> None:
    task = Invoice.objects.create(amount=3)

    drain()

    task.refresh_from_db()
    assert (task.status, task.result_data) == (Status.SUCCESS, "OK")
    assert task.task_biz_field == "task biz data"
    assert kinds(task) == ["enqueue", "start", "ack"]


def test_a_task_that_raises_has_failed_and_says_why(drain: Drain) -> None:
    task = Invoice.objects.create(amount=3, fails=True)

    drain()

    task.refresh_from_db()
    assert (task.status, task.result_data) == (Status.FAILED, None)
    assert task.error_data["type"] == "ValueError"
    assert task.error_data["message"] == "invoice of 3 cannot be sent"
    assert "do_task" in task.error_data["traceback"]
    assert task.task_biz_field == "task biz data"
    assert kinds(task) == ["enqueue", "start", "fail"]


def test_every_shape_of_model_is_run(drain: Drain, tmp_path: Path) -> None:
    tasks = [
        testapp.Invoice.objects.create(),
        testapp.PaidInvoice.objects.create(),
        testapp.ForeignInvoice.objects.create(),
        testapp.Keyworded.objects.create(),
        testapp.ByPath.objects.create(),
        testapp.ByCallable.objects.create(),
        testapp.ByDefault.objects.create(),
        testapp.UuidKeyed.objects.create(),
        testapp.TextKeyed.objects.create(id="a: b/ü"),
        testapp.Numbered.objects.create(),
        testapp.Reminder.objects.create(text="call"),
        testapp.Gadget.things.create(),
        testapp.Secret(hidden=True),
        testapp.Ledger.objects.create(),
        testapp.Elsewhere.objects.create(),
        testapp.Parcel.objects.create(weight=2.5),
    ]
    tasks[12].save()

    output = drain()

    for task in tasks:
        row = type(task)._base_manager.using(task._state.db).get(pk=task.pk)
        assert (type(task).__name__, row.status) == (type(task).__name__, Status.SUCCESS), output
        assert kinds(row) == ["enqueue", "start", "ack"]


@pytest.mark.one_server
def test_a_row_saved_as_a_proxy_is_run_as_one_whichever_model_pushes(drain: Drain) -> None:
    task = testapp.PaidInvoice.objects.create()
    get_queue().cancel_many(task.get_event_channel(), [task.get_task_id()])
    Invoice.objects.get(pk=task.pk).save()

    drain()

    task.refresh_from_db()
    assert (task.status, task.result_data) == (Status.SUCCESS, "paid")


def test_a_row_saved_in_another_database_than_the_routers_is_run_there(drain: Drain) -> None:
    task = testapp.Reminder(text="over there")
    task.save(using="other")

    drain()

    assert testapp.Reminder.objects.using("other").get(pk=task.pk).status == Status.SUCCESS
    assert not testapp.Reminder.objects.exists()


@pytest.mark.parametrize("processes", ["1", "3"])
def test_each_of_many_tasks_is_run_once(drain: Drain, tmp_path: Path, processes: str) -> None:
    runs = tmp_path / "runs"
    step = {"do": "append", "path": str(runs)}
    Scripted.objects.bulk_enqueue([{"script": {**step, "text": str(n)}} for n in range(100)])

    drain("--processes", processes)

    lines = sorted(line.split()[0] for line in runs.read_text().splitlines())
    assert lines == sorted(str(n) for n in range(100))
    assert Scripted.objects.succeeded().count() == 100


@pytest.mark.one_server
@pytest.mark.parametrize("models", [["testapp.Invoice"], ["testapp.invoice,testapp.Reminder"]])
def test_only_the_models_asked_for_are_run(drain: Drain, models: list[str]) -> None:
    wanted, other = Invoice.objects.create(), testapp.Ledger.objects.create()

    drain("--models", *models)

    assert (status_of(wanted), status_of(other)) == (Status.SUCCESS, Status.PENDING)


@pytest.mark.one_server
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--models", "testapp.Missing"], "No such task model: testapp.Missing"),
        (["--processes", "0"], "--processes must be 1 or more"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(
    start_server: Start, arguments: list[str], says: str
) -> None:
    server = start_server(*arguments)

    output, _ = server.communicate(timeout=60)

    assert server.returncode == 1
    assert says in output
    assert "Traceback" not in output


@pytest.mark.one_server
def test_results_that_json_has_no_word_for_are_kept_or_marked(drain: Drain) -> None:
    tasks = {
        kind: Scripted.objects.create(script={"do": "unusual value", "kind": kind})
        for kind in sorted(UNUSUAL_VALUES)
    }

    drain()

    found = {kind: Scripted.objects.get(pk=task.pk) for kind, task in tasks.items()}
    assert {kind: task.status for kind, task in found.items()} == dict.fromkeys(
        tasks, Status.SUCCESS
    )
    assert found["decimal"].result_data == UNUSUAL_VALUES["decimal"]()
    assert found["set"].result_data == {1, 2}
    assert found["object"].result_data[TAG] == "repr"
    assert found["cyclic"].result_data != found["deep"].result_data
    assert found["huge"].result_data[TAG] == "truncated"
    assert found["huge"].result_data["size"] > 10_000_000


ENDS = {
    "raise undecodable": "UnicodeDecodeError",
    "raise unprintable": "tests.testapp.scripts.UnprintableError",
    "exit": "SystemExit",
    "interrupt": "KeyboardInterrupt",
    "raise": "ValueError",
}


@pytest.mark.one_server
def test_every_error_of_a_task_is_recorded_and_ends_no_thread(drain: Drain) -> None:
    # More ends of each kind than there are threads: a thread that dies is missed.
    tasks = [
        (error, Scripted.objects.create(script={"do": word}))
        for word, error in ENDS.items()
        for _ in range(6)
    ]
    last = Scripted.objects.create()

    drain()

    for error, task in tasks:
        task.refresh_from_db()
        assert (task.status, task.error_data["type"]) == (Status.FAILED, error)
        assert isinstance(task.error_data["message"], str)
    assert status_of(last) == Status.SUCCESS


def test_the_row_of_a_running_task_has_its_lease(start_server: Start, tmp_path: Path) -> None:
    go = tmp_path / "go"
    task = Scripted.objects.create(script={"do": "wait", "path": str(go)})
    server = start_server()

    eventually(lambda: status_of(task) == Status.RUNNING)

    assert task.start_time is not None
    assert task.check_at > task.start_time
    assert task.attempt == 1
    assert str(server.pid) not in task.worker.split(":")[1:2]
    go.touch()
    eventually(lambda: status_of(task) == Status.SUCCESS)
    assert stopped(server)[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_tasks_finish_and_leaves_the_rest_queued(
    start_server: Start, tmp_path: Path, number: int
) -> None:
    go, here = tmp_path / "go", tmp_path / "here"
    steps = [{"do": "touch", "path": str(here)}, {"do": "wait", "path": str(go)}]
    running = Scripted.objects.create(script=steps)
    server = start_server("--models", "testapp.Scripted", "-v", "2")
    eventually(here.exists)

    server.send_signal(number)
    says(server, "process_stopping")
    late = Scripted.objects.create()
    go.touch()
    output, _ = server.communicate(timeout=60)

    assert server.returncode == 0, output
    assert status_of(running) == Status.SUCCESS
    assert status_of(late) == Status.PENDING
    assert get_queue().missing(late.get_event_channel(), [late.get_task_id()]) == []


@pytest.mark.one_server
def test_a_task_that_does_not_finish_in_time_is_released(
    start_server: Start, tmp_path: Path, drain: Drain
) -> None:
    go, here = tmp_path / "go", tmp_path / "here"
    steps = [{"do": "touch", "path": str(here)}, {"do": "wait", "path": str(go)}]
    task = Scripted.objects.create(script=steps)
    server = start_server(DJANGO_SIMPLETASK3_SHUTDOWN_GRACE="0.3")
    eventually(here.exists)

    code, output = stopped(server)

    assert code == 0, output
    assert status_of(task) == Status.PENDING
    assert kinds(task) == ["enqueue", "start", "release"]
    go.touch()
    output = drain()
    print(output)
    assert kinds(task)[3:] == ["start", "ack"]


def test_a_second_signal_releases_at_once(start_server: Start, tmp_path: Path) -> None:
    here = tmp_path / "here"
    steps = [{"do": "touch", "path": str(here)}, {"do": "wait for ever"}]
    task = Scripted.objects.create(script=steps)
    server = start_server(
        "-v",
        "2",
        DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT="600",
        DJANGO_SIMPLETASK3_SHUTDOWN_GRACE="600",
    )
    eventually(here.exists)

    server.send_signal(signal.SIGTERM)
    # Two signals of one kind at once are one: the second must find the first one handled.
    says(server, "node_stopping")
    code, output = stopped(server)

    assert code == 0, output
    assert status_of(task) == Status.PENDING


@pytest.mark.one_server
@pytest.mark.parametrize(
    ("death", "code"),
    [
        pytest.param({"do": "kill"}, -signal.SIGKILL, id="killed"),
        pytest.param({"do": "kill", "number": signal.SIGSEGV}, -signal.SIGSEGV, id="segfault"),
        pytest.param({"do": "exit process", "code": 9}, 9, id="exit"),
    ],
)
def test_the_tasks_of_a_dead_child_are_recovered_at_once(
    start_server: Start, tmp_path: Path, death: dict[str, Any], code: int
) -> None:
    here = tmp_path / "here"
    script = [
        {**death, "attempt": 1},
        {"do": "touch", "path": str(here)},
    ]
    task = Scripted.objects.create(script=script)

    server = start_server("--models", "testapp.Scripted")
    eventually(lambda: status_of(task) == Status.SUCCESS)

    assert kinds(task) == ["enqueue", "start", "recover", "start", "ack"]
    recovery = task.events.get(kind="recover")
    assert recovery.reason == "worker_died"
    assert recovery.data["lost_worker"] == task.events.filter(kind="start").first().worker
    assert recovery.data["exit_code"] == code
    assert stopped(server)[0] == 0


def test_a_frozen_node_loses_its_tasks_with_its_lease_and_its_late_result_is_refused(
    start_server: Start, tmp_path: Path
) -> None:
    here, go = tmp_path / "here", tmp_path / "go"
    script = [
        {"do": "touch", "path": str(here)},
        {"do": "wait", "path": str(go), "attempt": 1},
        {"do": "value", "value": "late", "attempt": 1},
        {"do": "value", "value": "in time", "attempt": 2},
    ]
    task = Scripted.objects.create(script=script)
    lease = {
        "DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT": "1.5",
        "DJANGO_SIMPLETASK3_SHUTDOWN_GRACE": "1",
    }
    frozen = start_server(**lease)
    eventually(here.exists)

    freeze(task, frozen.pid, os.killpg)
    start_server(**lease)
    eventually(lambda: status_of(task) == Status.SUCCESS, timeout=40)
    go.touch()
    os.killpg(frozen.pid, signal.SIGCONT)
    eventually(lambda: "reject" in kinds(task))

    assert kinds(task) == ["enqueue", "start", "recover", "start", "ack", "reject"]
    assert task.events.get(kind="recover").reason == "lease_expired"
    rejection = task.events.get(kind="reject")
    assert (rejection.data["attempt"], rejection.data["current_attempt"]) == (1, 2)
    assert rejection.data["worker"] != rejection.data["current_worker"]
    assert (status_of(task), task.result_data) == (Status.SUCCESS, "in time")


def test_a_node_that_is_started_again_recovers_what_it_held_before(
    start_server: Start, tmp_path: Path
) -> None:
    here, go = tmp_path / "here", tmp_path / "go"
    script = [
        {"do": "touch", "path": str(here)},
        {"do": "wait", "path": str(go), "attempt": 1},
    ]
    task = Scripted.objects.create(script=script)
    node = start_server()
    eventually(here.exists)

    os.killpg(node.pid, signal.SIGKILL)
    node.wait()
    start_server()
    eventually(lambda: status_of(task) == Status.SUCCESS)

    assert kinds(task) == ["enqueue", "start", "recover", "start", "ack"]
    assert task.events.get(kind="recover").reason == "node_restarted"


def test_a_long_task_outlives_many_leases_and_is_run_once(
    start_server: Start, tmp_path: Path
) -> None:
    runs, go = tmp_path / "runs", tmp_path / "go"
    script = [{"do": "append", "path": str(runs)}, {"do": "wait", "path": str(go)}]
    task = Scripted.objects.create(script=script)
    start_server(DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT="1", DJANGO_SIMPLETASK3_SHUTDOWN_GRACE="1")
    eventually(lambda: status_of(task) == Status.RUNNING)

    first = task.check_at
    eventually(lambda: (status_of(task), task.check_at > first)[1])
    eventually(lambda: (task.check_at - first).total_seconds() > 2 or status_of(task) is None)
    go.touch()
    eventually(lambda: status_of(task) == Status.SUCCESS)

    assert len(runs.read_text().splitlines()) == 1
    assert kinds(task) == ["enqueue", "start", "ack"]


@pytest.mark.one_server
def test_a_redis_that_hangs_costs_no_run_its_lease(
    start_server: Start, own_redis_server: RedisServer, tmp_path: Path
) -> None:
    go, here = tmp_path / "go", tmp_path / "here"
    script = [{"do": "touch", "path": str(here)}, {"do": "wait", "path": str(go)}]
    task = Scripted.objects.create(script=script)
    start_server(
        DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT="1",
        DJANGO_SIMPLETASK3_SHUTDOWN_GRACE="1",
        DJANGO_SIMPLETASK3_SIMQ_REDIS_URL=own_redis_server.url,
    )
    eventually(here.exists)

    own_redis_server.freeze()
    frozen_at = timezone.now()
    eventually(
        lambda: (status_of(task), task.check_at > frozen_at + timedelta(seconds=6))[1],
        timeout=20,
    )
    go.touch()
    eventually(lambda: status_of(task) == Status.SUCCESS)

    assert kinds(task) == ["enqueue", "start", "ack"]


@pytest.mark.one_server
def test_a_supervisor_that_is_killed_takes_its_children_with_it(
    start_server: Start, tmp_path: Path
) -> None:
    here, go = tmp_path / "here", tmp_path / "go"
    script = [{"do": "touch", "path": str(here)}, {"do": "wait", "path": str(go)}]
    task = Scripted.objects.create(script=script)
    server = start_server()
    eventually(here.exists)
    task.refresh_from_db()
    child = int(task.worker.split(":")[1])

    server.kill()
    go.touch()

    eventually(lambda: status_of(task) == Status.SUCCESS)
    eventually(lambda: not Path(f"/proc/{child}").exists() or _is_zombie(child))


def _is_zombie(pid: int) -> bool:
    return "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]


def test_with_redis_gone_the_tasks_are_found_in_their_table(
    start_server: Start, own_redis_server: RedisServer
) -> None:
    before = Invoice.objects.create()
    server = start_server(DJANGO_SIMPLETASK3_SIMQ_REDIS_URL=own_redis_server.url)
    eventually(lambda: status_of(before) == Status.SUCCESS)

    own_redis_server.kill()
    after = [Invoice.objects.create(), testapp.PaidInvoice.objects.create()]

    eventually(lambda: {status_of(task) for task in after} == {Status.SUCCESS}, timeout=30)
    assert [kinds(task) for task in after] == [["enqueue", "start", "ack"]] * 2
    assert stopped(server)[0] == 0


def test_when_redis_is_back_the_queue_goes_on(
    start_server: Start, own_redis_server: RedisServer
) -> None:
    server = start_server(DJANGO_SIMPLETASK3_SIMQ_REDIS_URL=own_redis_server.url)
    own_redis_server.kill()
    during = Invoice.objects.create()
    own_redis_server.start()
    after = Invoice.objects.create()

    eventually(lambda: {status_of(during), status_of(after)} == {Status.SUCCESS}, timeout=30)
    assert stopped(server)[0] == 0


@pytest.mark.one_server
def test_a_poison_task_is_dropped_in_the_end(start_server: Start) -> None:
    task = Scripted.objects.create(script={"do": "kill"})
    healthy = Invoice.objects.create()

    start_server()
    eventually(lambda: status_of(task) == Status.FAILED, timeout=30)

    # While the outcome of the other task is recorded it is not certain which of them is the cause.
    losses = [kind for kind in kinds(task) if kind not in ("start", "release")]
    assert losses == ["enqueue", *["recover"] * 4, "drop"]
    assert task.error_data["type"] == "WorkerLost"
    eventually(lambda: status_of(healthy) == Status.SUCCESS)


def test_a_task_that_runs_too_long_is_ended(start_server: Start) -> None:
    task = Hurried.objects.create(script={"do": "wait for ever"})
    server = start_server("--models", "testapp.Hurried")

    eventually(lambda: status_of(task) == Status.FAILED)

    assert task.error_data["type"] == "django_simpletask3.exceptions.TimeLimitExceeded"
    assert "django_simpletask3_time_limit of testapp.Hurried is 0.3 s" in task.error_data["message"]
    assert kinds(task) == ["enqueue", "start", "fail"]
    assert stopped(server)[0] == 0


@pytest.mark.one_server
@pytest.mark.parametrize("way", COROUTINES)
def test_a_coroutine_that_runs_too_long_is_ended_and_tried_again(
    start_server: Start, tmp_path: Path, way: str
) -> None:
    task = HurriedCoroutine.objects.create(way=way, folder=str(tmp_path))
    neighbour = Scripted.objects.create(script={"do": "wait", "path": str(tmp_path / "ended")})
    start_server("--models", "testapp.HurriedCoroutine,testapp.Scripted")

    eventually(lambda: status_of(task) == Status.SUCCESS)
    eventually(lambda: status_of(neighbour) == Status.SUCCESS)

    assert kinds(task) == ["enqueue", "start", "retry", "start", "ack"]
    assert kinds(neighbour) == ["enqueue", "start", "ack"]
    error = task.events.get(kind="retry").data["error"]
    assert error["type"] == "django_simpletask3.exceptions.TimeLimitExceeded"
    assert "django_simpletask3_time_limit of testapp.HurriedCoroutine is 0.3 s" in error["message"]


@pytest.mark.one_server
def test_a_task_that_cannot_be_ended_costs_its_process_and_no_other_task(
    start_server: Start, tmp_path: Path
) -> None:
    go, here = tmp_path / "go", tmp_path / "here"
    script = [{"do": "touch", "path": str(here)}, {"do": "wait", "path": str(go)}]
    neighbour = Scripted.objects.create(script=script)
    stubborn = Hurried.objects.create(script={"do": "ignore exceptions", "attempt": 1})
    start_server("--models", "testapp.Hurried,testapp.Scripted")

    eventually(lambda: status_of(stubborn) == Status.SUCCESS, timeout=40)
    go.touch()
    eventually(lambda: status_of(neighbour) == Status.SUCCESS)

    assert kinds(stubborn) == ["enqueue", "start", "recover", "start", "ack"]
    assert stubborn.events.get(kind="recover").reason == "time_limit"
    assert kinds(neighbour) == ["enqueue", "start", "release", "start", "ack"]


@pytest.mark.one_server
def test_a_row_deleted_while_queued_costs_one_pop(drain: Drain) -> None:
    task = Invoice.objects.create()
    channel = task.get_event_channel()
    message = (task.get_task_id(), task.get_task_data())
    task.delete()
    get_queue().push(channel, [message])

    drain()

    assert (get_queue().waiting(channel), get_queue().running(channel)) == (0, 0)


MALFORMED = {
    "a text": "not a mapping",
    "nothing": None,
    "no id": {"app_label": "testapp", "model_name": "invoice"},
    "another model": {"app_label": "testapp", "model_name": "ledger", "id": 1},
    "no key": {"app_label": "testapp", "model_name": "invoice", "id": "seven"},
    "no database": {"app_label": "testapp", "model_name": "invoice", "id": 1, "using": "nowhere"},
}


def test_messages_that_point_at_nothing_go_to_the_dead_letters(drain: Drain) -> None:
    channel = Invoice.get_event_channel()
    get_queue().push(channel, list(MALFORMED.items()))
    ledger = testapp.Ledger.objects.create()
    healthy = Invoice.objects.create()

    drain("--models", "testapp.Invoice")

    letters = {letter["id"]: letter["reason"] for letter in get_queue().dead_letters(channel)}
    assert set(letters) == set(MALFORMED)
    assert all(letters.values())
    assert status_of(healthy) == Status.SUCCESS
    assert status_of(ledger) == Status.PENDING
    assert (get_queue().waiting(channel), get_queue().running(channel)) == (0, 0)


def test_a_worker_needs_the_documented_rights_only(
    drain: Drain, redis_client: Any, redis_url: str, settings: Any
) -> None:
    grant(redis_client, settings.DJANGO_SIMPLETASK3_SIMQ_PREFIX)
    task = Invoice.objects.create()
    get_queue().push(Invoice.get_event_channel(), [("forged", 7)])

    url = redis_url.replace("://", "://limited:hush-hush@", 1)
    output = drain("--models", "testapp.Invoice", DJANGO_SIMPLETASK3_SIMQ_REDIS_URL=url)

    redis_client.execute_command("ACL", "DELUSER", "limited")
    assert status_of(task) == Status.SUCCESS
    assert len(get_queue().dead_letters(Invoice.get_event_channel())) == 1
    assert "may not use" not in output


def test_the_banner_names_models_threads_channels_redis_and_databases(drain: Drain) -> None:
    Invoice.objects.create()

    banner = drain("--models", "testapp.Invoice", DJANGO_SIMPLETASK3_SIMQ_POP_TIMEOUT="1")

    assert "testapp.Invoice" in banner
    assert "2 threads" in banner
    assert Invoice.get_event_channel() in banner
    assert "Redis" in banner
    assert "default" in banner


@pytest.mark.one_server
def test_a_task_queued_by_a_task_is_drained_too(drain: Drain) -> None:
    testapp.Keyworded.objects.create()
    Scripted.objects.bulk_enqueue([{} for _ in range(3)])

    drain("--processes", "2")

    assert not Scripted.objects.pending().exists()
    assert testapp.Keyworded.objects.get().result_data == ["msg", "worker"]


@pytest.mark.one_server
def test_a_child_that_is_killed_again_and_again_is_soon_replaced(
    start_server: Start, tmp_path: Path
) -> None:
    start_server("--models", "testapp.Scripted")
    for number in range(9):
        here = tmp_path / str(number)
        script = [
            {"do": "touch", "path": str(here), "attempt": 1},
            {"do": "wait for ever", "attempt": 1},
        ]
        task = Scripted.objects.create(script=script)
        eventually(here.exists)
        task.refresh_from_db()

        os.kill(int(task.worker.split(":")[1]), signal.SIGKILL)

        eventually(lambda task=task: status_of(task) == Status.SUCCESS)
        assert kinds(task) == ["enqueue", "start", "recover", "start", "ack"]


@pytest.mark.one_server
def test_a_frozen_child_is_stepped_over_by_its_siblings(
    start_server: Start, tmp_path: Path
) -> None:
    here, go = tmp_path / "here", tmp_path / "go"
    script = [
        {"do": "touch", "path": str(here), "attempt": 1},
        {"do": "wait", "path": str(go), "attempt": 1},
    ]
    task = Scripted.objects.create(script=script)
    start_server(
        "--processes",
        "2",
        DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT="2",
        DJANGO_SIMPLETASK3_SHUTDOWN_GRACE="1",
    )
    eventually(here.exists)
    task.refresh_from_db()
    frozen = int(task.worker.split(":")[1])

    freeze(task, frozen)

    eventually(lambda: status_of(task) == Status.SUCCESS, timeout=40)
    assert kinds(task) == ["enqueue", "start", "recover", "start", "ack"]
    assert task.events.get(kind="recover").reason == "lease_expired"
    os.kill(frozen, signal.SIGCONT)


@pytest.mark.one_server
def test_a_redis_that_comes_back_empty_delays_no_task_until_its_next_look(
    start_server: Start, own_redis_server: RedisServer
) -> None:
    before = Invoice.objects.create()
    server = start_server(
        "--models", "testapp.Ledger", DJANGO_SIMPLETASK3_SIMQ_REDIS_URL=own_redis_server.url
    )
    ran = testapp.Ledger.objects.create()
    eventually(lambda: status_of(ran) == Status.SUCCESS)
    eventually(lambda: not get_queue().has_lost_data())

    own_redis_server.kill()
    own_redis_server.start()

    # Its message is trusted for two minutes; no node runs it, but it is pushed again.
    channel = before.get_event_channel()
    eventually(lambda: kinds(before) == ["enqueue", "recover"], timeout=40)
    assert get_queue().waiting(channel) == 1
    assert stopped(server)[0] == 0
