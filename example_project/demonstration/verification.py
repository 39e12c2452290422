"""Whether what was shown is what was promised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from outbox.models import Notification

from django_simpletask3.ledger.projection import broken_links
from django_simpletask3.models import SimpleTask
from django_simpletask3.states import EventKind, Status

from .report import title_of
from .samples import FAILING

#: After one of these a task must be started once more.
RETURNED = (EventKind.RECOVER, EventKind.RELEASE)


def find_problems(tasks: Sequence[SimpleTask], victim: SimpleTask) -> list[str]:
    """What is wrong, in sentences; ``victim`` is the task whose worker was killed."""
    return [
        *(problem for task in tasks for problem in _problems_of(task)),
        *_problems_of_recovery(victim),
    ]


def is_recovered(task: SimpleTask) -> bool:
    return task.events.filter(kind=EventKind.RECOVER).exists()


def notifications(tasks: Sequence[SimpleTask]) -> int:
    """How many notifications there are about ``tasks``."""
    return sum(_notifications_of(task) for task in tasks)


def _problems_of(task: SimpleTask) -> Iterator[str]:
    expected = Status.FAILED if str(task).startswith(FAILING) else Status.SUCCESS
    if task.status != expected:
        error = (task.error_data or {}).get("message", "")
        yield f"{title_of(task)} is {task.status.name}, expected {expected.name}. {error}"
    events = list(task.events.all())
    kinds = [event.kind for event in events]
    losses = [event for event in events if event.from_status == Status.RUNNING]
    if kinds.count(EventKind.START) != 1 + sum(event.kind in RETURNED for event in losses):
        yield f"{title_of(task)} was started without need: {', '.join(kinds)}."
    if broken := broken_links(events):
        yield f"{title_of(task)}: the history is broken at No. {broken[0]}."
    if (told := _notifications_of(task)) != 1:
        yield f"{title_of(task)}: {told} notifications, expected 1."
    image = getattr(task, "image", None)
    if task.success and image is not None and not (image and image.storage.exists(image.name)):
        yield f"{title_of(task)}: there is no file {image.name!r}."


def _problems_of_recovery(victim: SimpleTask) -> Iterator[str]:
    starts = list(victim.events.filter(kind=EventKind.START))
    if not is_recovered(victim):
        yield f"{title_of(victim)} was not recovered."
    elif len({event.worker for event in starts}) != len(starts):
        yield f"{title_of(victim)} was not taken over by another worker."


def _notifications_of(task: SimpleTask) -> int:
    notifications_of_task = Notification.objects.filter(
        task_label=task._meta.label, task_pk=str(task.pk)
    )
    return notifications_of_task.count()
