"""Every way to tamper with rows and events by SQL, past the state machine."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import models

from django_simpletask3.ledger.digests import SALT_KEY, erase_payload
from django_simpletask3.ledger.stream_check import DiscrepancyKind
from django_simpletask3.states import EventKind, Status

Planted = set[tuple[int, DiscrepancyKind]]
TAMPERINGS: dict[str, "Tampering"] = {}


@dataclass(frozen=True)
class Tampering:
    """A change of a task of seven events, and the discrepancies that the audit must find."""

    commit: Callable[[Any], object]
    found: Planted
    is_repairable: bool = False


def events(task: Any) -> models.QuerySet[Any, Any]:
    return models.QuerySet(task.event_model, using=task._state.db).filter(task=task.pk)


def event(task: Any, sequence: int) -> models.QuerySet[Any, Any]:
    return events(task).filter(sequence=sequence)


def row(task: Any) -> models.QuerySet[Any, Any]:
    return models.QuerySet(type(task), using=task._state.db).filter(pk=task.pk)


def recompute_digests(task: Any, start: int) -> None:
    """Recompute the digests from event ``start`` on, as a thorough attacker does."""
    previous = events(task).filter(sequence__lt=start).order_by("sequence").last()
    digest = previous.digest if previous else ""
    for one in events(task).filter(sequence__gte=start).order_by("sequence"):
        digest = one.expected_digest(digest)
        event(task, one.sequence).update(digest=digest)


def tampering(name: str, *found: tuple[int, DiscrepancyKind], repairable: bool = False) -> Any:
    def register(commit: Callable[[Any], object]) -> Callable[[Any], object]:
        TAMPERINGS[name] = Tampering(commit, set(found), repairable)
        return commit

    return register


def change(**columns: Any) -> Callable[[Any], object]:
    return lambda task: event(task, 3).update(**columns)


# The stream: 1 enqueue, 2 start, 3 retry, 4 start, 5 note, 6 ack, 7 note.
for _name, _columns in {
    "kind": {"kind": EventKind.NOTE},
    "attempt": {"attempt": 7},
    "time": {"event_time": "2001-01-01T00:00:00Z"},
    "worker": {"worker": "another worker"},
    "actor": {"actor": "Eve"},
    "reason": {"reason": "because"},
    "data": {"data": {"seconds": 0}},
    "status": {"to_status": Status.FAILED},
}.items():
    TAMPERINGS[f"changed {_name}"] = Tampering(change(**_columns), {(3, DiscrepancyKind.DIGEST)})
TAMPERINGS["changed kind"].found.add((3, DiscrepancyKind.ARROW))
TAMPERINGS["changed attempt"].found.update({(3, DiscrepancyKind.ARROW), (4, DiscrepancyKind.ARROW)})
TAMPERINGS["changed status"].found.update({(3, DiscrepancyKind.ARROW), (4, DiscrepancyKind.ARROW)})
TAMPERINGS["changed digest"] = Tampering(
    change(digest="0" * 64), {(3, DiscrepancyKind.DIGEST), (4, DiscrepancyKind.DIGEST)}
)


@tampering("changed and sealed anew", (7, DiscrepancyKind.TAIL))
def _thorough(task: Any) -> None:
    event(task, 3).update(reason="because")
    recompute_digests(task, 3)


@tampering("deleted first", (2, DiscrepancyKind.GAP), (2, DiscrepancyKind.ARROW))
def _first(task: Any) -> None:
    event(task, 1).delete()


@tampering("deleted in the middle", (6, DiscrepancyKind.GAP))
def _middle(task: Any) -> None:
    event(task, 5).delete()


@tampering("deleted two", (6, DiscrepancyKind.GAP), (6, DiscrepancyKind.ARROW))
def _two(task: Any) -> None:
    events(task).filter(sequence__in=[4, 5]).delete()


@tampering(
    "deleted and renumbered",
    (5, DiscrepancyKind.DIGEST),
    (6, DiscrepancyKind.DIGEST),
    (7, DiscrepancyKind.TAIL),
)
def _renumbered(task: Any) -> None:
    event(task, 5).delete()
    for one in (6, 7):
        event(task, one).update(sequence=one - 1)


@tampering("cut by one", (7, DiscrepancyKind.TAIL))
def _cut(task: Any) -> None:
    event(task, 7).delete()


@tampering("cut by three", (5, DiscrepancyKind.TAIL))
def _cut_more(task: Any) -> None:
    events(task).filter(sequence__gt=4).delete()


@tampering("cut, and the row made to fit", (6, DiscrepancyKind.ROW), repairable=True)
def _cut_and_fitted(task: Any) -> None:
    # Truncated to the ack, and the row set back to it: all is consistent except the time.
    event(task, 7).delete()
    last = event(task, 6).get()
    row(task).update(sequence=6, digest=last.digest, attempt=9)


@tampering("inserted at the end", (8, DiscrepancyKind.DIGEST), (8, DiscrepancyKind.ROW))
def _appended(task: Any) -> None:
    one = event(task, 7).get()
    one.pk, one.sequence = None, 8
    models.QuerySet(task.event_model, using=task._state.db).bulk_create([one])


@tampering("inserted at the end, sealed", (8, DiscrepancyKind.ROW), repairable=True)
def _appended_sealed(task: Any) -> None:
    _appended(task)
    recompute_digests(task, 8)


@tampering(
    "inserted in the middle",
    (4, DiscrepancyKind.DIGEST),
    (5, DiscrepancyKind.DIGEST),
    (8, DiscrepancyKind.ROW),
)
def _inserted(task: Any) -> None:
    for one in (7, 6, 5, 4):
        event(task, one).update(sequence=one + 1)
    one = event(task, 3).get()
    one.pk, one.sequence, one.kind, one.from_status = None, 4, EventKind.NOTE, one.to_status
    models.QuerySet(task.event_model, using=task._state.db).bulk_create([one])
    TAMPERINGS["inserted in the middle"].found.update(
        {(number, DiscrepancyKind.DIGEST) for number in range(4, 9)}
    )


@tampering(
    "swapped",
    *((number, DiscrepancyKind.DIGEST) for number in (4, 5, 6)),
    *((number, DiscrepancyKind.ARROW) for number in (4, 5)),
)
def _swapped(task: Any) -> None:
    event(task, 4).update(sequence=99)
    event(task, 5).update(sequence=4)
    event(task, 99).update(sequence=5)


@tampering(
    "ended twice",
    (7, DiscrepancyKind.DIGEST),
    (7, DiscrepancyKind.ARROW),
    (7, DiscrepancyKind.TWICE),
)
def _twice(task: Any) -> None:
    event(task, 7).update(kind=EventKind.ACK, from_status=Status.RUNNING, to_status=Status.SUCCESS)


@tampering("moved to another task", (2, DiscrepancyKind.DIGEST), (3, DiscrepancyKind.DIGEST))
def _foreign(task: Any) -> None:
    # Two tasks with equal streams exchange their second event.
    twin = type(task).objects.exclude(pk=task.pk).first()
    mine, theirs = event(task, 2).get(), event(twin, 2).get()
    models.QuerySet(task.event_model).filter(pk=mine.pk).update(sequence=50)
    models.QuerySet(task.event_model).filter(pk=theirs.pk).update(task=task.pk)
    models.QuerySet(task.event_model).filter(pk=mine.pk).update(task=twin.pk, sequence=2)


@tampering("all events deleted", (0, DiscrepancyKind.STREAM))
def _all_events(task: Any) -> None:
    events(task).delete()


@tampering("row deleted", (7, DiscrepancyKind.ORPHAN), repairable=True)
def _row(task: Any) -> None:
    row(task)._raw_delete(task._state.db)


@tampering("result changed", (7, DiscrepancyKind.RESULT))
def _result(task: Any) -> None:
    row(task).update(result_data={"sum": 4})


@tampering("result erased by hand", (7, DiscrepancyKind.RESULT))
def _no_result(task: Any) -> None:
    row(task).update(result_data=None)


@tampering("error planted", (7, DiscrepancyKind.RESULT))
def _error(task: Any) -> None:
    row(task).update(error_data={"type": "ValueError", "message": "no", "traceback": ""})


@tampering("salt changed", (3, DiscrepancyKind.DIGEST))
def _salt(task: Any) -> None:
    retry = event(task, 3).get()
    event(task, 3).update(data={**retry.data, SALT_KEY: "0" * 32})


@tampering("payload erased by hand", (3, DiscrepancyKind.ERASED))
def _erased(task: Any) -> None:
    retry = event(task, 3).get()
    event(task, 3).update(data=erase_payload(retry.data))


@tampering("born again", (0, DiscrepancyKind.STREAM), repairable=True)
def _born_again(task: Any) -> None:
    events(task).delete()
    row(task).update(
        status=Status.PENDING,
        sequence=0,
        attempt=0,
        digest="",
        success=None,
        start_time=None,
        done_time=None,
        result_time=None,
        result_data=None,
    )


for _name, _columns in {
    "status": {"status": Status.FAILED},
    "success": {"success": False},
    "attempt": {"attempt": 1},
    "start_time": {"start_time": None},
    "done_time": {"done_time": "2001-01-01T00:00:00Z"},
    "result_time": {"result_time": None},
    "sequence": {"sequence": 5},
    "worker": {"worker": "another worker"},
    "parent": {"parent": "testapp.Invoice:1"},
    "check_at": {"check_at": "2001-01-01T00:00:00Z"},
}.items():
    TAMPERINGS[f"row says another {_name}"] = Tampering(
        lambda task, columns=_columns: row(task).update(**columns),  # type: ignore[misc]
        {(7, DiscrepancyKind.ROW)},
        is_repairable=True,
    )
TAMPERINGS["row knows another digest"] = Tampering(
    lambda task: row(task).update(digest="0" * 64), {(7, DiscrepancyKind.TAIL)}
)
