"""Steps in the lives of tasks that wait for others, and questions about them."""

from typing import Any

from django_simpletask3.dependencies.tables import (
    TO_BE_COUNTED,
    PrerequisiteGroup,
    TaskDependent,
    TaskPrerequisite,
)
from django_simpletask3.states import EventKind, Status
from tests.steps import apply_kinds, create_task, row_of
from tests.testapp.models import Invoice, Step

#: How a prerequisite fails, from its status PENDING.
FAILURES = {
    "fail": lambda task: apply_kinds(task, EventKind.START, EventKind.FAIL),
    "drop": lambda task: apply_kinds(task, EventKind.DROP),
    "cancel": lambda task: task.cancel(),
    "cancel by the function": lambda task: apply_kinds(
        apply_kinds(task, EventKind.START), EventKind.CANCEL, by_holder=True
    ),
    "delete": lambda task: task.delete(),
}


def step(**columns: Any) -> Any:
    return create_task(Step, **columns)


def succeed(*tasks: Any) -> None:
    for task in tasks:
        apply_kinds(task, EventKind.START, EventKind.ACK)


def fail(*tasks: Any) -> None:
    for task in tasks:
        apply_kinds(task, EventKind.START, EventKind.FAIL)


def dependent_on(*prerequisites: Any, model: Any = Invoice, on_failure: str = "cancel") -> Any:
    """A saved task that waits for ``prerequisites``."""
    task = model().after(*prerequisites, on_failure=on_failure)
    task.save()
    return task


def status(task: Any) -> Status | None:
    row = row_of(task)
    return None if row is None else Status(row.status)


def group_of(task: Any) -> PrerequisiteGroup:
    return PrerequisiteGroup.objects.get(
        pk=TaskDependent.objects.get(task_key=str(task.pk)).group_id
    )


def link_states(*tasks: Any) -> list[int]:
    keys = [str(task.pk) for task in tasks]
    links = TaskPrerequisite.objects.filter(task_key__in=keys).order_by("id")
    for link in links:  # what a maintenance job looks for, and what it finds then
        assert (link.to_be_counted == 1) == (link.state in TO_BE_COUNTED)
    return [link.state for link in links]
