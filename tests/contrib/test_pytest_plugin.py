"""The fixtures for pytest."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from tests.testapp.models import Invoice


def test_tasks_are_run_by_a_fixture(run_tasks: Any) -> None:
    task = Invoice.objects.create()

    assert run_tasks(task).succeeded == [task]


def test_tasks_run_when_they_are_saved(eager_tasks: None) -> None:
    task = Invoice.objects.create()

    task.refresh_from_db()
    assert task.status == Invoice.SUCCESS


@pytest.mark.django_db(transaction=True)
def test_the_fixtures_work_with_commits(eager_tasks: None, captured_events: Sequence[Any]) -> None:
    Invoice.objects.create()

    assert [event.kind for event in captured_events] == ["enqueue", "start", "ack"]


def test_the_events_so_far_are_captured(captured_events: Sequence[Any], run_tasks: Any) -> None:
    Invoice.objects.create()
    assert [event.kind for event in captured_events] == ["enqueue"]

    run_tasks()

    assert [event.kind for event in captured_events] == ["enqueue", "start", "ack"]


def test_pytest_can_load_it_before_django_is_set_up() -> None:
    code = "import django_simpletask3.contrib.pytest_plugin, sys; print('django.db' in sys.modules)"

    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert output.stdout == "False\n"
