"""Write the progress of running attempts as notes, in the background."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import close_old_connections, connections

from ..db.errors import may_be_transient
from ..exceptions import StaleTask, TransitionRefused
from ..ledger.projection import Projection
from ..ledger.stop_signal import reason_to_stop, request_stop
from ..ledger.task_row import TaskRow, table_model
from ..logs import get_logger
from ..states import EventKind
from ..transitions import writer
from ..transitions.transition import Transition
from .attempt import Attempt

#: Under the name of the outcomes of tasks.
_logger = get_logger("django_simpletask3.tasks")

_STEP_SECONDS = 1.0
#: An attempt has a note at most once in this part of the time for which it reports progress.
_PART_OF_ELAPSED = 100
_MAX_PAUSE_SECONDS = 10.0  # after errors of the database
#: Seconds after which a thread that has nothing to write ends.
_LINGER_SECONDS = 5.0
#: Milliseconds for which a note waits for the write lock of SQLite: the task function may hold it.
_SQLITE_PATIENCE = 100


@dataclass(eq=False, slots=True)
class _Watched:
    """What was written of the progress of an attempt, and when the next note may follow."""

    attempt: Attempt
    began: float
    due: float
    #: Stands for the instance, which only the task function uses.
    row: TaskRow
    written: Any = None
    failures: int = 0

    def is_due(self, now: float) -> bool:
        return now >= self.due and self.attempt.progress != self.written

    def postpone(self, now: float) -> None:
        """Let the next note follow after a pause that grows with the time of the attempt."""
        self.due = now + max(_STEP_SECONDS, (now - self.began) / _PART_OF_ELAPSED)


@dataclass(frozen=True, slots=True)
class _Note:
    """A note that is being written."""

    watched: _Watched
    progress: Any
    transition: Transition


class ProgressWriter:
    """Writes the progress of the attempts of this process, from a thread that it starts.

    The thread begins with the first attempt that reports progress, and ends when there has been
    none for some seconds.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: dict[Attempt, _Watched] = {}
        self._thread: threading.Thread | None = None

    def watch(self, attempt: Attempt) -> None:
        """Write the progress of ``attempt`` until it is forgotten."""
        now = time.monotonic()
        watched = _Watched(attempt, now, now + _STEP_SECONDS, _row_of(attempt))
        with self._changed:
            attempt.progress_writer = self
            self._watched[attempt] = watched
            self._start_thread()
            self._changed.notify()

    def _start_thread(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        thread = threading.Thread(target=self._run, name="progress", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no thread is left, or Python ends
            _logger.debug("progress_postponed tasks=%s error=%s", len(self._watched), error)
        else:
            self._thread = thread

    def forget(self, attempt: Attempt) -> bool:
        """Write no more progress of ``attempt``: its outcome says the last.

        Returns whether the task function was still running.
        """
        with self._changed:
            return self._watched.pop(attempt, None) is not None

    def write_due(self, now: float) -> int:
        """Write the progress that is due at ``now``, by ``time.monotonic()``; how many notes."""
        with self._changed:
            due = [watched for watched in self._watched.values() if watched.is_due(now)]
        return sum(self._write(group, now) for group in _by_table(due))

    def _write(self, group: list[_Watched], now: float) -> int:
        """Write notes of one table, in one statement where the database can do that."""
        notes = [_note_of(watched) for watched in group]
        using = group[0].attempt.using
        try:
            self._limit_patience(using)
            transitions = [note.transition for note in notes]
            if not_applied := writer.compare_and_set(transitions):
                writer.apply_all(not_applied, skip_locked=True)
        except BaseException as error:  # sys.exit() in a receiver does not end the thread
            _postpone(group, error, now)
            connections[using].close()
            return 0
        return sum(self._settle(note, now) for note in notes)

    def _limit_patience(self, using: str) -> None:
        # On the session of this thread, which ends with it.
        if connections[using].vendor == "sqlite" and threading.current_thread() is self._thread:
            with connections[using].cursor() as cursor:
                cursor.execute(f"PRAGMA busy_timeout = {_SQLITE_PATIENCE}")

    def _settle(self, note: _Note, now: float) -> bool:
        """Take notice of what has become of ``note``; whether it was written."""
        watched, attempt = note.watched, note.watched.attempt
        if note.transition.refusal is not None:
            self._give_up(attempt, note.transition.refusal)
        if note.transition.event is None:  # refused, or the row is locked: it is tried again
            return False
        watched.written, watched.failures = note.progress, 0
        watched.postpone(now)
        attempt.follow({**attempt.last_known_row, **_projection_of(watched.row)})
        _log(note)
        return True

    def _give_up(self, attempt: Attempt, refusal: TransitionRefused) -> None:
        """Let the function of an attempt stop that does not hold the task any more."""
        # A row that is gone may be invisible: that of a test, before its commit.
        if self.forget(attempt) and isinstance(refusal, StaleTask):
            request_stop(attempt.task, reason_to_stop(refusal.current.get("status")))

    def _run(self) -> None:
        try:
            while self._has_attempts():
                time.sleep(_STEP_SECONDS)
                self.write_due(time.monotonic())
                try:
                    close_old_connections()
                except Exception:  # the driver fails to report the state of a session
                    connections.close_all()
        finally:
            connections.close_all()

    def _has_attempts(self) -> bool:
        """Wait for an attempt that reports progress; False after some seconds without one."""
        with self._changed:
            if not self._watched:
                connections.close_all()
                self._changed.wait_for(lambda: self._watched, _LINGER_SECONDS)
            if not self._watched:
                self._thread = None
            return bool(self._watched)


def _note_of(watched: _Watched) -> _Note:
    attempt, progress = watched.attempt, watched.attempt.progress
    transition = Transition(
        watched.row,
        EventKind.NOTE,
        reason=progress.message,
        worker=attempt.worker,
        data={"progress": progress.as_data()},
        # No word of the holder: a note that comes too late is no late result.
        expected=attempt.fence,
        last_known_row=attempt.last_known_row,
    )
    return _Note(watched, progress, transition)


def _projection_of(row: TaskRow) -> dict[str, Any]:
    """The columns of ``row`` that the note has written."""
    attributes = vars(row)
    return {name: attributes[name] for name in Projection._fields}


def _row_of(attempt: Attempt) -> TaskRow:
    model = type(attempt.task)
    key: Any = model._meta.pk
    return model.from_db(attempt.using, [key.attname], [attempt.pk])


def _by_table(watched: Iterable[_Watched]) -> Iterable[list[_Watched]]:
    groups: dict[tuple[Any, str], list[_Watched]] = {}
    for one in watched:
        table = table_model(type(one.attempt.task)), one.attempt.using
        groups.setdefault(table, []).append(one)
    return groups.values()


def _postpone(group: list[_Watched], error: BaseException, now: float) -> None:
    """Try again after a pause that grows with the failures."""
    trace = None if may_be_transient(error) else error
    _logger.debug("progress_postponed tasks=%s error=%s", len(group), error, exc_info=trace)
    for watched in group:
        watched.failures += 1
        watched.due = now + min(_STEP_SECONDS * watched.failures, _MAX_PAUSE_SECONDS)


def _log(note: _Note) -> None:
    attempt = note.watched.attempt
    _logger.info(
        "task_progress model=%s pk=%s attempt=%s done=%s total=%s message=%s",
        attempt.task._meta.label,
        attempt.pk,
        attempt.attempt,
        note.progress.done,
        note.progress.total,
        note.progress.message,
    )


#: The writer of this process.
current = ProgressWriter()


def _begin_anew() -> None:
    """Forget, in a forked process, the thread and the locks of its parent."""
    global current
    current = ProgressWriter()


os.register_at_fork(after_in_child=_begin_anew)
