"""Start the tasks of one model's messages, in each database by itself."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import NamedTuple

from django.db import Error

from ...batches import batches
from ...db.errors import may_be_transient
from ...execution import resolve
from ...execution.due_tasks import TriedRows, start_from_table
from ...execution.run import Run
from ...execution.start import start
from ...logs import get_logger
from ...models.registry import possible_databases
from ...queue import Message
from ...retries import Exponential
from ..leases import Leases
from ..pipeline import ModelPipeline
from ..retry_queue import RetryQueue
from .threads import Answer, DatabaseThreads

_logger = get_logger(__name__)

#: Messages kept for another try, for each database; the rest return when their leases end. More
#: than a fetcher holds, because recovery may lock as many rows at once.
_MAX_POSTPONED = 1000
#: Seconds that the messages of the other databases wait for one that hangs, each time it begins to.
_PATIENCE_SECONDS = 0.25
_BACKOFF = Exponential(first=0.2, maximum=5.0)


class Started(NamedTuple):
    """What was to be started, what of it to try again, and how many tasks of a table were tried."""

    tried: Sequence[Message]
    again: Sequence[Message]
    number: int = 0


@dataclass(slots=True)
class _Database:
    """What is known of one database: what waits for it, is being started, and its failures.

    ``tried`` has the rows that were not started from the table; ``has_postponed_rows`` tells
    whether the last look left some to the next.
    """

    postponed: RetryQueue[Message] = field(default_factory=RetryQueue)
    starting: Sequence[Message] = ()
    tried: TriedRows = field(default_factory=TriedRows)
    has_postponed_rows: bool = False
    failures: int = 0
    sick_until: float = 0.0


class Starts:
    """Starts tasks and puts their runs into the pipeline.

    If the model may be in several databases, each has its thread: one that fails or hangs keeps its
    own messages, and delays those of no other. With one database its errors are raised, and the
    messages that could not be started must be given again.
    """

    def __init__(self, pipeline: ModelPipeline, leases: Leases) -> None:
        self._pipeline = pipeline
        self._leases = leases
        self._threads: DatabaseThreads[Started] = DatabaseThreads(
            f"start-{pipeline.model._meta.label}"
        )
        self._databases: dict[str, _Database] = defaultdict(_Database)

    @property
    def has_one_database(self) -> bool:
        """Whether all tasks are in one database, so that they start in the caller's thread."""
        return len(self._aliases) == 1

    @cached_property
    def _aliases(self) -> list[str]:
        return possible_databases(self._pipeline.model)

    def start(self, messages: Sequence[Message]) -> None:
        """Start the tasks of ``messages``; those that cannot be started now are kept."""
        if self.has_one_database:
            self._settle(Answer(self._aliases[0], 0, self._start_messages(messages)))
            return
        groups = resolve.group_messages(self._pipeline.model, messages)
        works: dict[str, Callable[[], Started]] = {}
        for using, by_pk in groups.items():
            batch = list(by_pk.values())
            if self._is_sick(using):
                self._postpone(using, batch, batch)
            else:
                self._databases[using].starting = batch
                works[using] = partial(self._start_messages, batch)
        self._call(works)

    def start_from_table(self, room: int, *, only_overdue: bool = False) -> bool:
        """Start up to ``room`` due tasks of the table; whether any were tried.

        With ``only_overdue``, none whose message is trusted. The databases share the room. A row
        that could not be started is not tried again until ``forget_tried``.
        """
        start_in = partial(self._start_due, only_overdue=only_overdue)
        if self.has_one_database:
            return start_in(self._aliases[0], room).number > 0
        self._aliases = [*self._aliases[1:], self._aliases[0]]  # each is the first in its turn
        healthy = [using for using in self._aliases if not self._is_sick(using)]
        for group in batches(healthy, max(1, room)):
            share = max(1, room // len(group))
            if self._call({using: partial(start_in, using, share) for using in group}):
                return True
        return False

    def forget_tried(self) -> None:
        """Try all rows again with the next call of ``start_from_table``."""
        for database in self._databases.values():
            database.tried = TriedRows()

    def pop_due(self) -> list[Message]:
        """Remove and return the messages to try again now, no more than there is room for."""
        self._call({})
        due: list[Message] = []
        for using, database in self._databases.items():
            if database.postponed and not self._is_sick(using):
                due += database.postponed.pop_due(max(0, self._pipeline.capacity(0) - len(due)))
        return due

    def seconds_until_due(self) -> float | None:
        """Seconds until a message is to be tried again or an answer may have come; None: never."""
        now, pauses = time.monotonic(), []
        for using, database in self._databases.items():
            if self._threads.is_busy(using):
                pauses.append(_PATIENCE_SECONDS)
            elif (rest := database.postponed.seconds_until_due()) is not None:
                pauses.append(max(rest, database.sick_until - now))
        return min(pauses, default=None)

    @property
    def is_idle(self) -> bool:
        """Whether no message is being started or waits."""
        return not any(d.postponed or d.starting for d in self._databases.values())

    @property
    def has_postponed_rows(self) -> bool:
        """Whether the last look at a table found rows that are locked: they may be due."""
        return any(database.has_postponed_rows for database in self._databases.values())

    @property
    def is_any_sick(self) -> bool:
        """Whether a database has just failed or hangs: nothing is known of its tasks."""
        return any(map(self._is_sick, self._aliases))

    @property
    def are_all_sick(self) -> bool:
        """Whether every database has just failed or hangs: no message could be started."""
        return all(map(self._is_sick, self._aliases))

    def pop_all(self) -> list[Message]:
        """Remove and return the messages that were not started, as far as is known."""
        databases, self._databases = self._databases, defaultdict(_Database)
        return [m for d in databases.values() for m in (*d.starting, *d.postponed.all())]

    def _is_sick(self, using: str) -> bool:
        is_pausing = time.monotonic() < self._databases[using].sick_until
        return is_pausing or self._threads.is_busy(using)

    def _start_messages(self, messages: Sequence[Message]) -> Started:
        pipeline = self._pipeline
        runs, again = start(
            pipeline.model,
            messages,
            worker=pipeline.worker,
            lease=pipeline.lease,
            run_alone=pipeline.run_alone,
        )
        self._accept(runs)
        pipeline.record_starts(len(messages) - len(again), len(runs))
        return Started(messages, again)

    def _start_due(self, using: str, room: int, *, only_overdue: bool) -> Started:
        pipeline, database = self._pipeline, self._databases[using]
        look = start_from_table(
            pipeline.model,
            using,
            room + pipeline.extra,
            worker=pipeline.worker,
            lease=pipeline.lease,
            tried=database.tried,
            only_overdue=only_overdue,
            run_alone=pipeline.run_alone,
        )
        self._accept(look.runs)
        pipeline.record_starts(look.number, len(look.runs))
        database.has_postponed_rows = look.postponed > 0
        return Started((), (), look.number)

    def _accept(self, runs: list[Run]) -> None:
        if not runs:
            return
        self._leases.add(runs, self._pipeline)
        self._pipeline.accept(runs)

    def _call(self, works: Mapping[str, Callable[[], Started]]) -> int:
        """Run ``works`` in their threads; the number of tasks of tables that were tried."""
        answers = self._threads.call(works, _PATIENCE_SECONDS)
        for answer in answers:
            self._settle(answer)
        return sum(answer.value.number for answer in answers if answer.value is not None)

    def _settle(self, answer: Answer[Started]) -> None:
        database = self._databases[answer.using]
        if answer.value is not None:
            tried, again, database.failures = answer.value.tried, answer.value.again, 0
        else:
            self._log_failure(answer)
            tried = again = database.starting
            database.failures += 1
            pause = _BACKOFF(database.failures)
            database.sick_until = time.monotonic() + pause
        database.starting = ()
        self._postpone(answer.using, tried, again)

    def _postpone(self, using: str, tried: Iterable[Message], again: Sequence[Message]) -> None:
        postponed = self._databases[using].postponed
        kept = again[: max(0, _MAX_POSTPONED - len(postponed))]
        postponed.remove(set(tried) - set(kept))
        postponed.put(kept)

    def _log_failure(self, answer: Answer[Started]) -> None:
        is_expected = isinstance(answer.error, Error) or may_be_transient(answer.error)
        _logger.warning(
            "starts_failed model=%s database=%s error=%s",
            self._pipeline.model._meta.label,
            answer.using,
            answer.error,
            exc_info=None if is_expected else answer.error,
        )
