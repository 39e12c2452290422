"""Run what ``make demo`` runs."""

import fcntl
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from django_simpletask3.queue import embedded
from tests.example.conftest import EXAMPLE, Run


def summary(process: "subprocess.CompletedProcess[str]") -> dict[str, str]:
    """The values of the summary by their names."""
    lines = process.stdout.partition("\nSummary\n")[2].partition("\n\n")[0].splitlines()
    return {line[:15].strip(): line[15:].strip() for line in lines}


def rows_in(folder: Path, question: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(folder / "db.sqlite3")) as connection:
        return connection.execute(question).fetchall()


def test_the_demo_succeeds_with_the_expected_summary(
    demo: "subprocess.CompletedProcess[str]",
) -> None:
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert demo.stderr == ""
    assert summary(demo)["tasks"] == "15"
    assert summary(demo)["succeeded"] == "13"
    assert summary(demo)["notifications"].startswith("15 ")


def test_the_timeline_shows_that_the_killed_task_ran_again(
    demo: "subprocess.CompletedProcess[str]",
) -> None:
    timeline = demo.stdout.partition("\nContact sheet 1 ")[2].partition("\n\n")[0]

    kinds = re.findall(r"^ +[\d.]+ s +(\w+)", timeline, re.MULTILINE)

    assert "All pictures" in summary(demo)["recovered"]
    assert [kind for kind in kinds if kind != "note"] == [
        "enqueue", "start", "recover", "start", "ack",
    ]  # fmt: skip


def test_its_rows_remain_for_the_admin(
    demo: "subprocess.CompletedProcess[str]", demo_folder: Path
) -> None:
    assert demo.returncode == 0
    assert rows_in(demo_folder, "SELECT username FROM auth_user") == [("admin",)]
    assert len(rows_in(demo_folder, "SELECT id FROM outbox_notification")) == 15


def test_it_stops_the_redis_that_it_started(
    demo: "subprocess.CompletedProcess[str]", demo_folder: Path
) -> None:
    assert demo.returncode == 0
    assert not embedded.stop(demo_folder / "redis")


def test_it_empties_no_folder_with_other_files(run_example: Run, tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("the only copy")

    done = run_example(EXAMPLE / "demo.py", "--folder", tmp_path)

    assert done.returncode == 1
    assert "name another folder" in done.stderr
    assert thesis.read_text() == "the only copy"


def test_two_demos_do_not_share_a_folder(run_example: Run, tmp_path: Path) -> None:
    with (tmp_path / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        done = run_example(EXAMPLE / "demo.py", "--folder", tmp_path)

    assert done.returncode == 1
    assert "end it first" in done.stderr
