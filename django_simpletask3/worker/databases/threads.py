"""One thread for each database, so that one that hangs delays the work in no other."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from django.db import connections

from ...logs import get_logger
from ...models.each_database import one_after_the_other, run_by
from .. import connections as worker_connections

_logger = get_logger(__name__)

#: Seconds for which the session of an idle thread is kept open.
_MAX_LINGER_SECONDS = 1.0
#: Seconds for which a database is waited for, each time it begins to hang.
PATIENCE_SECONDS = 1.0
#: Seconds without an answer after which a database is named in the log, once.
_LOG_AFTER_SECONDS = 5.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What the work in ``using`` returned, or raised; ``call`` is the number of its call."""

    using: str
    call: int
    value: T | None = None
    error: BaseException | None = None


class DatabaseThreads(Generic[T]):
    """Runs work in the threads of its databases; a database that hangs is waited for once.

    Only one thread may call an instance. The threads end with the process.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._inboxes: dict[str, SimpleQueue[Callable[[], Answer[T]] | None]] = {}
        self._answers: SimpleQueue[Answer[T]] = SimpleQueue()
        self._busy_since: dict[str, float] = {}
        self._logged: set[str] = set()
        self._calls = 0

    def is_busy(self, using: str) -> bool:
        """Whether earlier work in ``using`` has not ended, as of the last call."""
        return using in self._busy_since

    def call(self, works: Mapping[str, Callable[[], T]], patience: float) -> list[Answer[T]]:
        """Run each of ``works`` in the thread of its database, unless that one is busy.

        Waits until all have ended, or ``patience`` seconds. The answers may be of earlier calls
        that were not waited for. The context of the caller is that of the work.
        """
        self._calls += 1
        answers = self._collect(0.0)
        waited_for = {using for using in works if not self.is_busy(using)}
        for using in waited_for:
            self._begin(using, works[using])
        deadline = time.monotonic() + patience
        while waited_for & self._busy_since.keys():
            arrived = self._collect(deadline - time.monotonic())
            if not arrived:
                break
            answers += arrived
        self._log_silent()
        return answers

    def _collect(self, timeout: float) -> list[Answer[T]]:
        """The answers that have come; waits for one. [] if none came within ``timeout`` seconds."""
        answers: list[Answer[T]] = []
        try:
            while True:
                answers.append(self._answers.get(timeout=0.0 if answers else max(0.0, timeout)))
        except Empty:
            for answer in answers:
                self._busy_since.pop(answer.using, None)
                self._logged.discard(answer.using)
            return answers

    def __del__(self) -> None:
        for inbox in self._inboxes.values():
            inbox.put(None)

    def _begin(self, using: str, work: Callable[[], T]) -> None:
        if using not in self._inboxes:
            self._inboxes[using] = SimpleQueue()
            arguments = (self._inboxes[using], self._answers)
            name = f"{self._name}@{using}"
            threading.Thread(target=_serve, args=arguments, name=name, daemon=True).start()
        self._busy_since[using] = time.monotonic()
        context, call = contextvars.copy_context(), self._calls
        self._inboxes[using].put(lambda: context.run(_answer, using, call, work))

    def _log_silent(self) -> None:
        now = time.monotonic()
        for using, since in self._busy_since.items():
            if now - since >= _LOG_AFTER_SECONDS and using not in self._logged:
                self._logged.add(using)
                error = f"no answer for {now - since:.0f} s"
                _logger.warning("database_unreachable database=%s error=%s", using, error)


class Apart:
    """A runner of ``in_each_database``: each database has a thread of its own.

    Waits ``patience`` seconds for a database; what it says later is forgotten.
    """

    def __init__(self, name: str, patience: float = PATIENCE_SECONDS) -> None:
        self._threads: DatabaseThreads[Any] = DatabaseThreads(name)
        self._patience = patience
        self._calls = 0

    def run(self, step: Callable[[], T]) -> T:
        """Call ``step``, whose work in databases is done apart."""
        with run_by(self if len(list(connections)) > 1 else one_after_the_other):
            return step()

    def __call__(self, work: Callable[[str], Any], aliases: Iterable[str]) -> dict[str, Any]:
        self._calls += 1
        works = {using: partial(_run_inside, work, using) for using in aliases}
        answers = self._threads.call(works, self._patience)
        values = {}
        for answer in answers:
            if answer.call == self._calls:
                if answer.error is not None:
                    raise answer.error
                values[answer.using] = answer.value
        return values


def _run_inside(work: Callable[[str], T], using: str) -> T:
    with run_by(one_after_the_other):
        return work(using)


def _serve(
    inbox: SimpleQueue[Callable[[], Answer[T]] | None], answers: SimpleQueue[Answer[T]]
) -> None:
    is_connected = False
    try:
        while True:
            try:
                work = inbox.get(timeout=_MAX_LINGER_SECONDS if is_connected else None)
            except Empty:
                worker_connections.close_stale()
                is_connected = False
            else:
                if work is None:
                    return
                answers.put(work())
                work = None  # its context refers to what must end this thread
                is_connected = True
    finally:
        connections.close_all()


def _answer(using: str, call: int, work: Callable[[], T]) -> Answer[T]:
    try:
        answer = Answer(using, call, work())
    except BaseException as error:  # sys.exit() in a receiver does not end the thread
        worker_connections.close_all()
        return Answer(using, call, error=error)
    worker_connections.close_broken()
    return answer
