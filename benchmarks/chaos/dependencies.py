"""Check that tasks that wait for others were released once, and in time, after a run."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from benchmarks.chaos.models import Part
from django_simpletask3.dependencies.tables import (
    DependentState,
    GroupState,
    PrerequisiteGroup,
    TaskDependent,
    TaskPrerequisite,
)
from django_simpletask3.ledger.event import events_of
from django_simpletask3.states import EventKind

_ENDS = (
    EventKind.ACK,
    EventKind.FAIL,
    EventKind.DROP,
    EventKind.CANCEL,
    EventKind.EXPIRE,
    EventKind.DELETE,
)
_TOLERANCE = timedelta(seconds=1.0)  # processes read the clock of the database now and then
_CHILDREN = 3  # of a part that splits


def problems() -> Iterator[str]:
    """Yield what is wrong with groups, and what is left of them."""
    yield from _leftovers()
    yield from _releases()
    yield from _splits()


def _leftovers() -> Iterator[str]:
    for group in PrerequisiteGroup.objects.filter(state=GroupState.TO_BE_SERVED):
        yield f"group {group} has to be served"
    for link in TaskPrerequisite.objects.filter(to_be_counted=1):
        yield f"the end of {link} was not counted by group {link.group_id}"
    for dependent in TaskDependent.objects.filter(state=DependentState.WAITING):
        yield f"{dependent} waits for group {dependent.group_id}"


def _releases() -> Iterator[str]:
    """Yield tasks that were released twice, or before what they waited for."""
    ends = _first_ends()
    prerequisites: dict[int, list[str]] = defaultdict(list)
    for group_id, key in TaskPrerequisite.objects.values_list("group", "task_key"):
        prerequisites[group_id].append(key)
    open_blocks: Counter[Any] = Counter()
    moves = events_of(Part, None).filter(kind__in=(EventKind.BLOCK, EventKind.UNBLOCK))
    for event in moves:
        open_blocks[event.task_id] += 1 if event.kind == EventKind.BLOCK else -1
        if event.reason == "prerequisites_ended":
            for key in prerequisites[event.data["group"]]:
                if key not in ends or ends[key] > event.event_time + _TOLERANCE:
                    yield f"{event.task_id} was released before {key} had ended"
    for key, count in open_blocks.items():
        if count < 0:
            yield f"{key} was released {-count} times more than it was blocked"


def _first_ends() -> dict[str, datetime]:
    """Return when each part ended for the first time."""
    ends = events_of(Part, None).filter(kind__in=_ENDS).order_by("-event_time")
    return {str(key): time for key, time in ends.values_list("task_id", "event_time")}


def _splits() -> Iterator[str]:
    """Yield parts that have enqueued a group, but not once for each checkpoint."""
    events = events_of(Part, None)
    checkpoints = Counter(
        f"{Part._meta.label}:{event.task_id}"
        for event in events.filter(kind=EventKind.CHECKPOINT)
        if event.data["name"] == "split"
    )
    children = Counter(
        event.data["parent"]
        for event in events.filter(kind=EventKind.ENQUEUE, data__isnull=False)
        if "parent" in event.data
    )
    for name in checkpoints.keys() | children.keys():
        if children[name] != _CHILDREN * checkpoints[name]:
            yield f"{name} has {children[name]} children of {checkpoints[name]} groups"
