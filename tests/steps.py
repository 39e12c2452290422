"""Steps in a task's life, taken without a worker, and questions about it."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import StringIO
from typing import Any

from django.core.management import call_command
from django.db import connection, connections, models, transaction

from django_simpletask3.db import clock
from django_simpletask3.ledger.digests import SALT_KEY
from django_simpletask3.ledger.event import events_of
from django_simpletask3.ledger.projection import Projection
from django_simpletask3.models.registry import table_models, task_models
from django_simpletask3.queue import get_queue
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions import writer
from tests.testapp.models import Hiding, TextKeyed, Ticket

_numbers = itertools.count(1)

#: When tasks expired that have expired long ago.
PAST = datetime(2020, 1, 1, tzinfo=UTC)

#: Other apps of the tests have models for purposes of their own; Django cannot insert a Ticket in
#: bulk, and the methods of a Hiding are hidden.
TASK_MODELS = [
    m for m in task_models() if m._meta.app_label == "testapp" and m not in (Ticket, Hiding)
]
TABLES = table_models(TASK_MODELS)
#: The ways to every state, taken from a newly saved task.
WAYS: dict[Status, list[EventKind]] = {
    Status.PENDING: [],
    Status.BLOCKED: [EventKind.BLOCK],
    Status.RUNNING: [EventKind.START],
    Status.SUCCESS: [EventKind.START, EventKind.ACK],
    Status.FAILED: [EventKind.START, EventKind.FAIL],
    Status.CANCELED: [EventKind.CANCEL],
}


def locking_reads(using: str = "default") -> list[str]:
    """The statements that read rows under a lock: SQLite has to write before it reads."""
    can_lock = connections[using].features.has_select_for_update
    return ["SELECT"] if can_lock else ["DELETE", "SELECT"]


def label_of(model: type[models.Model]) -> str:
    return model._meta.label


def make_task(model: type[Any], **columns: Any) -> Any:
    """An unsaved task of ``model``, with a key if the database does not assign one."""
    if model is TextKeyed:
        columns.setdefault("id", f"key: {next(_numbers)} ü")
    return model(**columns)


def create_task(model: type[Any], **columns: Any) -> Any:
    task = make_task(model, **columns)
    task.save()
    return task


def apply_kinds(task: Any, *kinds: EventKind, worker: str = "w1", **details: Any) -> Any:
    """``task`` after these moves."""
    for kind in kinds:
        writer.apply(task, kind, worker=worker, **details)
    return task


def bring_to(task: Any, status: Status, **details: Any) -> Any:
    """``task``, newly saved, brought into ``status``; ``details`` belong to the last move."""
    *earlier, last = WAYS[status] or [None]
    apply_kinds(task, *earlier)
    return apply_kinds(task, last, **details) if last else task


def row_of(task: Any) -> Any:
    """What the database says of ``task``, past managers that may hide it; None if it is gone."""
    return models.QuerySet(type(task), using=task._state.db).filter(pk=task.pk).first()


def stream_of(task: Any, pk: Any = None) -> list[Any]:
    """The events of ``task``, or of the key it had."""
    stream = events_of(type(task), task._state.db)
    return list(stream.filter(task=task.pk if pk is None else pk))


def kinds(task: Any, pk: Any = None) -> list[str]:
    """The kinds of the events of ``task``, or of the key it had, in order."""
    return [str(event.kind) for event in stream_of(task, pk)]


def status_of(task: Any) -> Status:
    """The status of ``task``, reloaded from the database."""
    task.refresh_from_db()
    return Status(task.status)


def projection_of(task: Any) -> Projection:
    return Projection.of(row_of(task))


def message_count(task: Any) -> int:
    """How many messages wait in the channel of ``task``, or of a model."""
    return get_queue().waiting(task.get_event_channel())


def has_message(task: Any) -> bool:
    return get_queue().missing(task.get_event_channel(), [task.get_task_id()]) == []


def is_due_for_recovery(task: Any) -> bool:
    row = row_of(task)
    return row.check_at <= clock.now(row._state.db)


def run_command(name: str, *words: Any) -> tuple[str, int]:
    """The output of a management command, and its exit code."""
    output = StringIO()
    try:
        call_command(name, *map(str, words), stdout=output)
    except SystemExit as end:
        return output.getvalue(), int(end.code or 0)
    return output.getvalue(), 0


@contextmanager
def locked_elsewhere(task: Any) -> Iterator[None]:
    """Within the block, another session has locked the row of ``task``."""
    locked, end = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            type(task).objects.select_for_update().get(pk=task.pk)
            locked.set()
            end.wait(20)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert locked.wait(20)
        yield
    finally:
        end.set()
        holder.join()


def without_salt(data: dict[str, Any]) -> dict[str, Any]:
    """The data of an event that has a salt, without it."""
    assert len(data[SALT_KEY]) == 32
    return {key: value for key, value in data.items() if key != SALT_KEY}


def other_session_waits() -> bool:
    """Whether a session of this database waits for a lock.

    Asked outside of the transaction, which would be given the same answer again and again.
    """
    with connections["other"].cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = %s "
                "AND wait_event_type = 'Lock'",
                [connection.settings_dict["NAME"]],
            )
        else:
            cursor.execute(
                "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
            )
        return bool(cursor.fetchone()[0])
