"""What a command writes for people is lines of text, whatever the tables and Redis contain."""

import json
from pathlib import Path

import pytest
from django.db import models

from django_simpletask3 import control
from django_simpletask3.context import task_context
from django_simpletask3.queue import get_queue
from django_simpletask3.states import Status
from tests.steps import create_task, run_command
from tests.testapp.models import Invoice, TextKeyed

HOSTILE = "\x1b[2J\r\x9b31m\u202e\nforged line"
ESCAPED = r"\x1b[2J\r\x9b31m\u202e\nforged line"


def lines_of(name: str, *words: object) -> list[str]:
    output, _ = run_command(name, *words)
    assert ESCAPED in output
    return output.split("\n")


@pytest.mark.django_db
def test_the_status_sends_nothing_to_the_terminal(redis_url: str) -> None:
    get_queue().report(f"host:1:{HOSTILE}", {"models": {f"app.{HOSTILE}": {"threads": 1}}})
    with task_context(actor=f"ann{HOSTILE}"):
        control.pause(Invoice)

    lines = lines_of("django-simpletask3-status")

    assert all(line.isprintable() for line in lines)
    assert "forged line" not in lines


@pytest.mark.django_db
def test_the_audit_sends_nothing_to_the_terminal() -> None:
    task = create_task(TextKeyed, id=f"key{HOSTILE}")
    models.QuerySet(TextKeyed).filter(pk=task.pk).update(status=Status.SUCCESS)

    lines = lines_of("django-simpletask3-audit", "--model", "testapp.TextKeyed")

    assert all(line.isprintable() for line in lines)


def test_the_verification_sends_nothing_to_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "streams.jsonl"
    record = {"model": f"app.{HOSTILE}", "task": HOSTILE, "kind": HOSTILE, "event_time": HOSTILE}
    rows = [{"format": "django-simpletask3 streams 1"}, record, {**record, "row": {}}]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    lines = lines_of("django-simpletask3-audit", "verify", path)

    assert all(line.isprintable() for line in lines)


@pytest.mark.django_db
def test_a_liveness_file_sends_nothing_to_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "beat.json"
    path.write_text(
        json.dumps({"time": 0, "monotonic": 0, "pid": HOSTILE, "processes": [], "counts": {}})
    )

    lines = lines_of("django-simpletask3-status", "--heartbeat-file", path)

    assert all(line.isprintable() for line in lines)
