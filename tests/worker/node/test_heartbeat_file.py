"""What a node tells of itself: in Redis, and in a file for probes of the same machine."""

import io
import json
import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from django_simpletask3.monitoring import health
from django_simpletask3.queue import get_queue
from django_simpletask3.states import Status
from django_simpletask3.worker.maintenance.pacing import JobRun, SharedSchedule
from django_simpletask3.worker.node.heartbeat_file import LivenessFile
from django_simpletask3.worker.node.status import Node
from tests.eventually import eventually
from tests.testapp.models import Scripted
from tests.worker.conftest import Start


def judged(path: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    printed = io.StringIO()
    code = 0
    try:
        call_command(
            "django-simpletask3-status",
            "--json",
            "--heartbeat-file",
            str(path),
            *arguments,
            stdout=printed,
        )
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, json.loads(printed.getvalue())


def a_node(**more: Any) -> Node:
    now, tick = time.time(), time.monotonic()
    known: dict[str, Any] = {
        "began": now - 900,
        "tick": tick - 900,
        "processes": ("n:1:x",),
        "missing": 0,
        "silent": 0,
        "replaced": 0,
        "counts": {"succeeded": 3},
        "jobs": {"recover_expired_leases": JobRun(tick, began=now, ended=now)},
    }
    return Node(**{**known, **more})


def test_a_node_reports_while_it_lives_and_retires_in_the_end(
    start_server: Start, tmp_path: Path
) -> None:
    here, go = tmp_path / "here", tmp_path / "go"
    script = [{"do": "touch", "path": str(here)}, {"do": "wait", "path": str(go)}]
    task = Scripted.objects.create(script=script)
    server = start_server("--processes", "2", "--models", "testapp.Scripted")
    eventually(here.exists)

    eventually(lambda: len(get_queue().workers()) == 2)
    workers = {worker.worker: worker for worker in health.snapshot().workers}
    go.touch()
    eventually(lambda: Scripted.objects.get(pk=task.pk).status == Status.SUCCESS)
    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=60)

    task.refresh_from_db()
    assert task.worker in workers
    assert sum(w.models["testapp.Scripted"].threads for w in workers.values()) == 5
    assert all("recover_expired_leases" in worker.jobs for worker in workers.values())
    assert get_queue().workers() == []


def test_a_node_that_is_well_writes_its_heartbeat_and_takes_it_along(
    start_server: Start, tmp_path: Path
) -> None:
    path = tmp_path / "beat.json"
    server = start_server("--processes", "2", "--heartbeat-file", str(path))
    eventually(path.exists)

    code, report = judged(path, "--max-age", "600")
    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=60)

    assert (code, report["healthy"], report["pid"]) == (0, True, server.pid)
    assert len(report["processes"]) == 2
    assert {"recover_expired_leases", "push_overdue", "requeue_expired_claims"} <= set(
        report["jobs"]
    )
    assert server.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.one_server
def test_a_frozen_node_stops_writing_its_heartbeat(start_server: Start, tmp_path: Path) -> None:
    path = tmp_path / "beat.json"
    server = start_server("--heartbeat-file", str(path))
    eventually(path.exists)

    os.killpg(server.pid, signal.SIGSTOP)

    eventually(lambda: judged(path, "--max-age", "4")[0] == 1, timeout=30)
    [problem] = judged(path, "--max-age", "4")[1]["problems"]
    assert "old; 4 s are allowed" in problem
    os.killpg(server.pid, signal.SIGCONT)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"missing": 1}, id="a process is missing"),
        pytest.param({"silent": 1}, id="no process runs"),
        pytest.param(
            {"jobs": {"recover_expired_leases": JobRun(began=1.0)}, "tick": 1.0}, id="no job runs"
        ),
    ],
)
def test_a_node_that_is_not_well_leaves_the_file_as_it_is(
    more: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "beat.json"

    LivenessFile(path).write(a_node(**more))

    assert not path.exists()
    assert judged(path)[0] == 1


@pytest.mark.parametrize("hours", [3, -3])
def test_a_wall_clock_that_is_set_makes_no_node_unwell_and_no_file_old(
    hours: int, tmp_path: Path, time_machine: Any
) -> None:
    path = tmp_path / "beat.json"
    node = a_node()
    LivenessFile(path).write(node)

    time_machine.move_to(timezone.now() + timedelta(hours=hours))

    assert node.is_well
    assert judged(path)[0] == 0


def test_a_job_that_was_triggered_makes_no_node_unwell() -> None:
    schedule = SharedSchedule(["push_overdue"])
    schedule.begin("push_overdue")
    schedule.trigger("push_overdue")

    assert schedule.seconds_until("push_overdue", 600.0) <= 0.25
    assert a_node(tick=1.0, jobs=schedule.read()).is_well


def test_the_liveness_file_is_written_once_in_two_seconds(tmp_path: Path) -> None:
    path = tmp_path / "beat.json"
    heartbeat = LivenessFile(path)
    heartbeat.write(a_node())
    path.unlink()

    heartbeat.write(a_node())

    assert not path.exists()


@pytest.mark.parametrize("linked", ["beat.json", ".beat.json.{pid}"])
def test_a_heartbeat_is_not_written_through_a_link(linked: str, tmp_path: Path) -> None:
    path, victim = tmp_path / "beat.json", tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / linked.format(pid=os.getpid())).symlink_to(victim)

    LivenessFile(path).write(a_node())

    assert victim.read_text() == "precious"
    assert not path.is_symlink()
    assert judged(path)[0] == 0


def test_what_another_user_puts_at_the_new_name_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    heartbeat = LivenessFile(tmp_path / "beat.json")
    heartbeat._new.symlink_to(victim)

    heartbeat.write(a_node())

    assert victim.read_text() == "precious"


def test_a_heartbeat_is_not_read_through_a_link(tmp_path: Path) -> None:
    path = tmp_path / "beat.json"
    (tmp_path / "other").write_text(
        json.dumps({"time": time.time(), "monotonic": time.monotonic(), "secret": "geheim"})
    )
    path.symlink_to(tmp_path / "other")

    code, report = judged(path)

    assert code == 1
    assert "geheim" not in json.dumps(report)


@pytest.mark.parametrize("content", ["", "{}", '{"time": "soon"}', "[1]", "[" * 100_000])
def test_a_file_that_is_no_heartbeat_is_a_problem(content: str, tmp_path: Path) -> None:
    path = tmp_path / "beat.json"
    path.write_text(content)

    code, report = judged(path)

    assert code == 1
    assert "cannot be read as a heartbeat" in report["problems"][0]


@pytest.mark.one_server
@pytest.mark.parametrize("where", ["nowhere/beat.json", "."])
def test_a_file_that_cannot_be_written_is_one_clear_error(
    where: str, start_server: Start, tmp_path: Path
) -> None:
    server = start_server("--heartbeat-file", str(tmp_path / where))

    output, _ = server.communicate(timeout=60)

    assert server.returncode == 1
    assert "--heartbeat-file" in output
    assert "Traceback" not in output
