"""Find expired leases and due tasks, and judge leases only when workers could renew them."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from django.db import Error

from ... import control
from ...conf.leases import longest_policy
from ...db import clock
from ...limits import maintenance as limits
from ...logs import get_logger
from ...models.each_database import in_each_database
from ...models.registry import tables_in, task_databases
from ...models.task import SimpleTask
from ...queue import get_queue
from ...recovery import due_check, service
from ...recovery.due_check import DueTimes
from ...states import Status
from ..watch.worker_name import is_known_dead
from .due_hints import DueHints
from .pacing import SharedSchedule
from .snapshot import ALL_TABLES, SharedSnapshot, Snapshot, table_bits

_logger = get_logger(__name__)

#: The names of the jobs that check the tables, and that push the messages of due tasks.
CHECK = "recover_expired_leases"
PUSH_OVERDUE = "push_overdue"
#: The name of the job that cancels the tasks that have expired.
EXPIRE_TASKS = "expire_tasks"

#: Seconds between two checks while no task is due or runs; without Redis, it is always one second.
#: Below five: a pause takes effect that soon, and after five seconds OutageGrace assumes that the
#: database was away. Hints tell of the tasks that are due earlier.
_IDLE_SECONDS = 4.4

#: Seconds without a check after which a database counts as having been away. Then workers get
#: as long to renew their leases; Leases retries every second meanwhile.
_MAX_GAP = 5.0
_TIME_TO_RENEW = 5.0

#: Leases are checked by the same thread: many gates must not delay that.
_MAX_SERVING_SECONDS = 0.5
#: At the start, and so often, all gates are served where tasks wait.
_MARK_SECONDS = 600.0

#: The due times by database alias; None for a database that cannot be queried.
_Found = Mapping[str, DueTimes | None]
#: Seconds that a supervisor has to recover the tasks of its dead children.
_SUPERVISOR_SECONDS = 3.0


class LeaseMonitor:
    """Queries the due times of all task tables, one statement per database."""

    def __init__(
        self, shared: SharedSchedule, snapshot: SharedSnapshot, hints: DueHints | None = None
    ) -> None:
        self._shared = shared
        self._snapshot = snapshot
        self._hints = hints or DueHints()
        self._grace = OutageGrace()
        self._is_idle = False
        self._began = time.monotonic()
        #: When workers of this machine were first found dead, by the last two looks.
        self._dead: dict[str, float] = {}
        self._dead_before: dict[str, float] = {}
        #: Until when leases must have ended to be judged, and when gates are marked again.
        self._judged: dict[str, datetime | None] = {}
        self._next_mark: dict[str, float] = {}
        #: The databases in which no message is trusted, without Redis.
        self._without_trust: set[str] = set()
        #: When schedules were last changed, of each database that has answered.
        self._schedules: dict[str, datetime | None] = {}

    def check(self) -> int:
        """Recover tasks whose lease has ended; the number recovered.

        Publishes the due times to the other processes of the node, triggers ``push_overdue`` if a
        task is due, and ``expire_tasks`` if one may have expired. A database that cannot be queried
        counts as due: then each of its tables fails, or not, by itself. If a task is due before the
        next regular check, adds a hint.
        """
        self._hints.forget_past()
        began, command_database = time.monotonic(), _command_database()
        databases = {*task_databases(), *([command_database] if command_database else [])}
        query = partial(self._query, command_database=command_database)
        found = in_each_database(query, sorted(databases))
        # One that hangs is not in ``found``: it is examined when it answers.
        is_complete = databases == found.keys()
        self._publish(began, found, is_complete=is_complete, command_database=command_database)
        if None in found.values() or _is_due(found, Status.PENDING):
            self._shared.trigger(PUSH_OVERDUE)
        if any(times is None or times.may_have_expired for times in found.values()):
            self._shared.trigger(EXPIRE_TASKS)
        for due_times in filter(None, found.values()):
            self._add_hints(due_times)
        count = self._recover(found)
        in_each_database(self._serve_limits, self._databases_to_serve(found))
        return count

    def recover_local(self) -> int:
        """Recover the tasks of dead processes of this machine; the number recovered."""
        if not self._snapshot.latest().has_running:
            return 0
        self._dead, self._dead_before = {}, self._dead
        return service.recover_dead_local_workers(self._is_left_behind)

    def _is_left_behind(self, worker: str) -> bool:
        """Whether ``worker`` is dead, and its supervisor has had the time to recover its tasks.

        The supervisor knows which of them is the cause. At the start of a node there is none.
        """
        if not is_known_dead(worker):
            return False
        now = time.monotonic()
        self._dead[worker] = self._dead_before.get(worker, now)
        is_new = now - self._began < _SUPERVISOR_SECONDS
        return is_new or now - self._dead[worker] >= _SUPERVISOR_SECONDS

    def idle_for(self) -> float:
        """Seconds until the next check is needed."""
        return _IDLE_SECONDS if self._is_idle else 0.0

    def _query(self, using: str, command_database: str | None) -> DueTimes | None:
        models, with_commands = tables_in(using), using == command_database
        try:
            self._stop_trusting(using)
            due_times = _read_due_times(using, models, with_commands=with_commands)
            clock.refresh(using)
            return due_times
        except Error as error:
            _logger.warning("due_check_failed database=%s error=%s", using, error)
            # Commands that cannot be read may be there; without tables there are no tasks.
            command_time = clock.now(using) if with_commands else None
            return None if models else DueTimes(using, None, None, command_time)

    def _stop_trusting(self, using: str) -> None:
        """At the start of a node without Redis, look at tasks that may wait for their messages."""
        if using not in self._without_trust and not get_queue().has_messages:
            service.stop_trusting_messages(using)
            self._without_trust.add(using)

    def _publish(
        self, began: float, found: _Found, *, is_complete: bool, command_database: str | None
    ) -> None:
        known = [due_times for due_times in found.values() if due_times is not None]
        self._schedules |= {times.using: times.schedules_mark for times in known}
        may_be_due = not is_complete or len(known) < len(found)
        has_commands = any(due_times.command_time is not None for due_times in known)
        is_polling = not get_queue().has_messages
        self._is_idle = not (may_be_due or is_polling or _is_due(found, Status.PENDING)) and all(
            due_times.running_check_at is None and due_times.limit_time is None
            for due_times in known
        )
        self._snapshot.publish(
            Snapshot(
                began,
                has_running=may_be_due or any(due.running_check_at is not None for due in known),
                has_waiting=may_be_due or any(due.pending_check_at is not None for due in known),
                has_commands=has_commands or found.get(command_database or "") is None,
                due_tables=ALL_TABLES if may_be_due else _due_tables(known),
                schedules=_fingerprint(self._schedules),
            )
        )

    def _add_hints(self, due_times: DueTimes) -> None:
        """Hint at the next due task, and at when limits have work, unless that is now."""
        now = clock.now(due_times.using)
        if due_times.pending_check_at and not due_times.is_due(Status.PENDING):
            self._hints.add([(due_times.pending_check_at - now).total_seconds()])
        if due_times.limit_time and not due_times.may_serve_limits:
            self._hints.add_exact((due_times.limit_time - now).total_seconds())

    def _recover(self, found: _Found) -> int:
        """Recover where a lease has ended; each database by itself."""
        due = [u for u, times in found.items() if times is None or times.is_due(Status.RUNNING)]
        for using in found.keys() - due:
            self._judge_until(using)
        count = service.recover_expired_leases(judge_until=self._judge_until, databases=due)
        in_each_database(service.shorten_leases, self._grace.take_set_back())
        return count

    def _judge_until(self, using: str) -> datetime | None:
        self._judged[using] = self._grace.judge_until(using)
        return self._judged[using]

    def _databases_to_serve(self, found: _Found) -> list[str]:
        """The databases where limits have work, and those whose gates were not marked for long."""
        now = time.monotonic()
        return [
            using
            for using, times in found.items()
            if times and (times.may_serve_limits or now >= self._next_mark.get(using, 0.0))
        ]

    def _serve_limits(self, using: str) -> None:
        try:
            if (now := time.monotonic()) >= self._next_mark.get(using, 0.0):
                limits.mark_gates(using)
                limits.delete_idle_gates(using)
                released = limits.release_unlimited(using, _MAX_SERVING_SECONDS)
                self._next_mark[using] = now + (0.0 if released else _MARK_SECONDS)
            if limits.serve_limits(using, self._judged.get(using), _MAX_SERVING_SECONDS):
                seconds = limits.seconds_until_next(using)
                if seconds is not None:
                    self._hints.add_exact(max(0.0, seconds))
        except Error as error:
            _logger.warning("limits_not_served database=%s error=%s", using, error)


def _due_tables(known: Iterable[DueTimes]) -> int:
    return table_bits({root for due_times in known for root in due_times.due_tables})


def _fingerprint(marks: Mapping[str, datetime | None]) -> int:
    """A number for these marks, which is not 0."""
    return zlib.crc32(repr(sorted(marks.items())).encode()) or 1


def _is_due(found: _Found, status: Status) -> bool:
    return any(due_times.is_due(status) for due_times in found.values() if due_times is not None)


def _command_database() -> str | None:
    """The alias of the database with operator commands; None if the router raises.

    Without it each process reads the commands itself.
    """
    try:
        return control.command_database()
    except Exception as error:
        _logger.warning("commands_unreadable error=%s", error)
        return None


def _read_due_times(using: str, models: list[type[SimpleTask]], *, with_commands: bool) -> DueTimes:
    """The due times of ``using``. A table of commands that cannot be read hides no task."""
    read = partial(due_check.read_due_times, using, models)
    try:
        return read(with_commands=with_commands)
    except Error:
        if not (with_commands and models):
            raise
        due_times = read()
        return replace(due_times, command_time=clock.now(using))


@dataclass(frozen=True, slots=True)
class _Grace:
    """A time to renew, by ``clock.steady()``; it covers the leases that had ended at ``now``."""

    began: float
    ends: float
    now: datetime


class OutageGrace:
    """Until when leases in a database must have ended to be judged, by that database's own clock.

    After an outage, or a jump of the clock, all leases have ended although their workers live:
    workers get time to renew them first
    (test_an_outage_longer_than_the_lease_costs_no_running_task_its_claim). A lease gets that time
    once: one that was not renewed in it is judged, also if the clock has jumped again.
    """

    def __init__(self) -> None:
        self._began = clock.steady()
        self._last_check: dict[str, float] = {}
        self._graces: dict[str, list[_Grace]] = {}
        self._jumps: dict[str, clock.Jump | None] = {}
        self._set_back: set[str] = set()

    def judge_until(self, using: str) -> datetime | None:
        """Record a check of ``using``, whose clock was just read; None if no lease is judged."""
        now, moment = clock.now(using), clock.steady()
        graces = self._graces.setdefault(using, [])
        was_away = moment - self._last_check.get(using, self._began) > _MAX_GAP
        self._last_check[using] = moment
        jump = self._new_jump(using)
        if jump is not None:
            self._handle_jump(using, jump, now)
        elif was_away and not graces:
            # A running grace period is not extended: a database that is always slow is judged.
            graces.append(_Grace(moment, moment + _TIME_TO_RENEW, now))
        if all(grace.ends <= moment for grace in graces):
            graces.clear()
            return now
        return max((grace.now for grace in graces if grace.ends <= moment), default=None)

    def take_set_back(self) -> list[str]:
        """The databases whose clocks were set back, once their workers had time to renew."""
        taken = [using for using in self._set_back if not self._graces[using]]
        self._set_back.difference_update(taken)
        return taken

    def _new_jump(self, using: str) -> clock.Jump | None:
        jump, last = clock.last_jump(using), self._jumps.get(using)
        self._jumps[using] = jump
        return jump if jump != last else None

    def _handle_jump(self, using: str, jump: clock.Jump, now: datetime) -> None:
        graces, policy = self._graces[using], longest_policy()
        if jump.seconds < 0:
            # What is renewed from now on ends earlier than what had its time before.
            graces[:] = [replace(grace, now=min(grace.now, now)) for grace in graces]
            self._set_back.add(using)
        # A clock that jumps again and again is judged after the length of a lease.
        if not graces or jump.at - graces[0].began < policy.lease:
            ends = jump.at + policy.renewal_interval + _TIME_TO_RENEW
            graces.append(_Grace(jump.at, ends, now))
