"""Verify the outcome of the demo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from outbox.models import Notification

from django_simpletask3.ledger.projection import broken_links
from django_simpletask3.models import SimpleTask
from django_simpletask3.states import EventKind, Status

from .report import title_of
from .samples import FAILING

#: Each of these events returns a running task to the queue, to be started once more.
RETURN_KINDS = (EventKind.RECOVER, EventKind.RELEASE)


def find_problems(tasks: Sequence[SimpleTask], interrupted: SimpleTask) -> list[str]:
    """Describe each problem in a sentence; the worker of ``interrupted`` was killed."""
    return [
        *(problem for task in tasks for problem in _problems_of(task)),
        *_problems_of_recovery(interrupted),
    ]


def is_recovered(task: SimpleTask) -> bool:
    return task.events.filter(kind=EventKind.RECOVER).exists()


def count_notifications(tasks: Sequence[SimpleTask]) -> int:
    """The number of notifications about ``tasks``."""
    return sum(_count_notifications_of(task) for task in tasks)


def _problems_of(task: SimpleTask) -> Iterator[str]:
    expected = Status.FAILED if str(task).startswith(FAILING) else Status.SUCCESS
    if task.status != expected:
        error = (task.error_data or {}).get("message", "")
        yield f"{title_of(task)} is {task.status.name}, expected {expected.name}. {error}"
    events = list(task.events.all())
    kinds = [event.kind for event in events]
    returns = [event for event in events if event.from_status == Status.RUNNING]
    if kinds.count(EventKind.START) != 1 + sum(event.kind in RETURN_KINDS for event in returns):
        yield f"{title_of(task)} was started too often or too seldom: {', '.join(kinds)}."
    if broken := broken_links(events):
        yield f"{title_of(task)}: the digest chain is broken at event {broken[0]}."
    if (count := _count_notifications_of(task)) != 1:
        yield f"{title_of(task)}: {count} notifications, expected 1."
    image = getattr(task, "image", None)
    if task.success and image is not None and not (image and image.storage.exists(image.name)):
        yield f"{title_of(task)}: the file {image.name!r} is missing."


def _problems_of_recovery(interrupted: SimpleTask) -> Iterator[str]:
    starts = list(interrupted.events.filter(kind=EventKind.START))
    if not is_recovered(interrupted):
        yield f"{title_of(interrupted)} was not recovered."
    elif len({event.worker for event in starts}) != len(starts):
        yield f"{title_of(interrupted)} was not taken over by another worker."


def _count_notifications_of(task: SimpleTask) -> int:
    notifications_of_task = Notification.objects.filter(
        task_label=task._meta.label, task_pk=str(task.pk)
    )
    return notifications_of_task.count()
