"""What a test asks of tasks while their database comes and goes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from django.db import Error, connection

from django_simpletask3.ledger.projection import Projection, fold
from django_simpletask3.states import FINAL, Status
from tests.eventually import eventually
from tests.testapp.models import Scripted
from tests.worker.outages.conftest import Node

ONCE = ["enqueue", "start", "ack"]


def create_tasks(number: int, *steps: dict[str, Any]) -> list[Scripted]:
    """New tasks that do ``steps``."""
    return [Scripted.objects.create(script=list(steps)) for _ in range(number)]


def waiting_steps(folder: Path) -> list[dict[str, Any]]:
    """Steps of a body that is counted and runs until the test lets it go."""
    return [
        {"do": "append", "path": str(folder / "begun")},
        {"do": "wait", "path": str(folder / "go")},
    ]


def started_count(folder: Path) -> int:
    """How many such bodies have begun."""
    path = folder / "begun"
    return len(path.read_text().splitlines()) if path.exists() else 0


def or_none_during_outage(question: Callable[[], Any]) -> Any:
    """The answer, or None if the database gives none now."""
    try:
        return question()
    except Error:
        connection.close()
        return None


def statuses(tasks: Sequence[Scripted]) -> list[Status]:
    pks = [task.pk for task in tasks]
    rows = Scripted.objects.filter(pk__in=pks).values_list("status", flat=True)
    return [Status(status) for status in rows]


def have_succeeded(tasks: Sequence[Scripted]) -> bool:
    found = or_none_during_outage(lambda: statuses(tasks))
    return found == [Status.SUCCESS] * len(tasks)


def have_ended(tasks: Sequence[Scripted]) -> bool:
    found = or_none_during_outage(lambda: statuses(tasks))
    return found is not None and set(found) <= FINAL


def assert_each_lived_once(tasks: Sequence[Scripted], *nodes: Node) -> None:
    """All succeeded, once, without other events; the nodes are the same."""
    eventually(lambda: have_ended(tasks), timeout=90.0, interval=0.1)
    report = {task.pk: list(task.events.all()) for task in tasks}
    rows = {task.pk: task for task in Scripted.objects.filter(pk__in=report)}

    assert {pk: [event.kind for event in report[pk]] for pk in report} == dict.fromkeys(
        report, ONCE
    )
    assert all(fold(report[pk]) == Projection.of(rows[pk]) for pk in report)
    assert len({event.worker for pk in report for event in report[pk][1:]}) <= len(nodes)
    assert [node.process.poll() for node in nodes] == [None] * len(nodes)
