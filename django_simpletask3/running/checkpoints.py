"""Checkpoints: completed steps of a task function, which another attempt does not repeat."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.db import connections, transaction

from ..db.errors import may_be_transient
from ..db.locks import begin_write
from ..exceptions import (
    CheckpointErased,
    CheckpointInTransaction,
    CheckpointNotRecorded,
    CheckpointRepeated,
    TaskStopped,
    TransitionRefused,
)
from ..ledger.digests import is_erased
from ..ledger.encoding import exact_value
from ..ledger.stop_signal import reason_to_stop, request_stop
from ..ledger.task_row import TaskRow, table_model, task_name
from ..retries import Exponential
from ..states import EventKind
from ..transitions.transition import Transition
from .attempt import Attempt
from .recorded_checkpoints import RecordedCheckpoints, check_name, read_checkpoints

#: Bytes of JSON of a value.
MAX_VALUE_BYTES = 64 * 1024
#: Seconds for which the database is tried again once the step has run.
_PATIENCE_SECONDS = 60.0
_PAUSES = Exponential(first=0.1, maximum=2.0)


class Checkpoints:
    """The checkpoints of one attempt, and of the attempts before it.

    A first attempt has none before it, and queries nothing.
    """

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._recorded = RecordedCheckpoints({}) if attempt.attempt == 1 else None
        #: The names of the steps that were called in this attempt.
        self._names: set[str] = set()

    def once(self, name: str, step: Callable[[], Any], *, is_atomic: bool) -> Any:
        """The value of the step ``name``, which is called unless it is recorded already."""
        check_name(name)
        TaskRow.check_stop(self._attempt.task)
        with self._use(name):
            values = self.read().values
            if name in values:
                return self._value_of(name, values[name])
            return (self._call_in_transaction if is_atomic else self._call)(name, step)

    def read(self) -> RecordedCheckpoints:
        """What is recorded; one query for each attempt but the first."""
        if self._recorded is None:
            self._recorded = read_checkpoints(self._attempt.task, self._attempt.using)
        return self._recorded

    @contextmanager
    def _use(self, name: str) -> Iterator[None]:
        """Refuse a second step of this name, unless the first one raises."""
        if name in self._names:
            raise CheckpointRepeated(
                f"once({name!r}) was called before in this attempt: each step needs a name of its "
                "own, such as one with the key of the row that it handles.",
                name=name,
            )
        earlier = frozenset(self._names)
        self._names.add(name)
        try:
            yield
        except BaseException:
            self._names &= earlier  # also without the steps that this one has called
            raise

    def _value_of(self, name: str, value: Any) -> Any:
        if is_erased(value):
            raise CheckpointErased(
                f"The value of the checkpoint {name!r} of {task_name(self._attempt.task)} was "
                "erased. reset(restart=True) forgets all checkpoints of the task.",
                name=name,
            )
        return copy.deepcopy(value)

    def _call(self, name: str, step: Callable[[], Any]) -> Any:
        self._reject_transaction(name)
        value = _stored(name, step())
        self._keep(name, self._record_patiently(name, value))
        return value

    def _call_in_transaction(self, name: str, step: Callable[[], Any]) -> Any:
        using, is_recording = self._attempt.using, False
        try:
            with transaction.atomic(using=using):
                begin_write(table_model(type(self._attempt.task)), using)
                value = _stored(name, step())
                is_recording = True
                transition = self._record(name, value)
                if transition.was_recorded:
                    # Its commit was not answered; this step has been one too many.
                    transaction.set_rollback(True, using=using)
                    value = _value_in(transition)
                transaction.on_commit(partial(self._keep, name, transition), using=using)
        except BaseException:
            if is_recording:
                self._recorded = None  # the commit may have succeeded: read it again
            raise
        return value

    def _reject_transaction(self, name: str) -> None:
        connection = connections[self._attempt.using]
        blocks: list[Any] = connection.atomic_blocks
        # Django's TestCase is around everything, but not a transaction of the task function.
        is_of_test_case = bool(blocks) and blocks[-1]._from_testcase
        if not connection.get_autocommit() and not is_of_test_case:
            raise CheckpointInTransaction(
                f"once({name!r}) was called in a transaction, which may still roll back the record "
                "of the step. Call it outside of atomic(), or with atomic=True.",
                name=name,
            )

    def _record_patiently(self, name: str, value: Any) -> Transition:
        """Record a step that has run: a database that is away is waited for."""
        deadline, failures = time.monotonic() + _PATIENCE_SECONDS, 0
        while True:
            try:
                return self._record(name, value)
            except Exception as error:
                failures += 1
                if not self._may_retry(error) or time.monotonic() > deadline:
                    self._recorded = None  # the commit may have succeeded: read it again
                    raise _not_recorded(name, str(error)) from error
            _close_broken(connections[self._attempt.using])
            TaskRow.stop_flag(self._attempt.task).wait(_PAUSES(failures))

    def _may_retry(self, error: Exception) -> bool:
        is_alone = not connections[self._attempt.using].in_atomic_block
        flag = TaskRow.stop_flag(self._attempt.task)
        return is_alone and may_be_transient(error) and not flag.is_set()

    def _record(self, name: str, value: Any) -> Transition:
        """Record the step. Raises TaskStopped if the attempt does not hold the task any more."""
        data = {"name": name, "phase": "done", "value": value}
        try:
            return self._attempt.record(EventKind.CHECKPOINT, data=data)
        except TransitionRefused as refusal:
            reason = reason_to_stop(getattr(refusal, "current", {}).get("status"))
            request_stop(self._attempt.task, reason)
            raise TaskStopped(reason) from refusal

    def _keep(self, name: str, transition: Transition) -> None:
        self.read().values[name] = _value_in(transition)


def _close_broken(connection: Any) -> None:
    """Let a new session be opened if this one is lost; else it keeps what middleware has set."""
    if connection.connection is not None and not connection.is_usable():
        connection.close()


def _value_in(transition: Transition) -> Any:
    """A copy of the value that the event holds."""
    data: Any = transition.event and transition.event.data
    return copy.deepcopy(data["value"])


def _stored(name: str, value: Any) -> Any:
    """``value`` as the event will hold it, which is what ``once`` returns."""
    try:
        return exact_value(value, limit=MAX_VALUE_BYTES)
    except ValueError as error:
        raise _not_recorded(name, str(error)) from None


def _not_recorded(name: str, problem: str) -> CheckpointNotRecorded:
    return CheckpointNotRecorded(
        f"The step {name!r} has run and is not recorded, so it runs again in the next attempt: "
        f"{problem}",
        name=name,
    )
