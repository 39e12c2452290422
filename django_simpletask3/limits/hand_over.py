"""Give the free places of a limit to those that wait for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import transaction

from ..db import clock
from ..db.conflicts import repeat_on_conflict
from ..db.errors import may_be_transient
from ..db.loading import load_tasks, pks_by_key
from ..db.locks import begin_write
from ..ledger.task_row import TaskRow, all_rows, known_tables
from ..logs import get_logger
from ..states import LIMIT_REASON, EventKind
from ..transitions.expiry import earlier_of
from ..transitions.transition import Transition, known_row, trusted_until
from ..transitions.writer import apply_all
from .declared import has_key, has_limit, limit_name, limit_of, limits_by_name
from .offer import Offer, forget_rate
from .places import (
    Claim,
    claimed_by,
    delete_places,
    gate_key_of,
    lock_places_of,
    table_label,
    waiters_at,
)
from .successors import PlacedStart, current_successors, lease_end_of
from .tables import LimitGate, LimitPlace, LimitWaiter

_logger = get_logger(__name__)

#: Seconds after which a task that was given a place is pushed again, if its message was lost, and
#: after which the next one gets the place, if it was not claimed.
_CHECK_SECONDS, _CLAIM_SECONDS = 5.0, 60.0

#: Tasks that go on in one transaction, at most.
_MAX_TASKS = 100


def free_places(claims: Sequence[Claim], using: str) -> None:
    """Free the places of attempts that have ended, and give them to those that wait.

    Call it in a transaction: the places are free when it is committed.
    """
    places = lock_places_of(claims, using)
    if places:
        delete_places([place.pk for place in places], using)
        serve({place.gate_id: place.gate for place in places}.values(), using)


def free_ended(claims: Sequence[Claim], using: str) -> None:
    """As ``free_places``, in a transaction of its own, for attempts that have left no event."""

    def free() -> None:
        with transaction.atomic(using=using):
            begin_write(LimitGate, using)
            free_places(claims, using)

    repeat_on_conflict(using, free)


def serve(gates: Iterable[LimitGate], using: str) -> int:
    """Give the free places of locked ``gates`` to those that wait; the number of these."""
    is_marked = [g for g in gates if g.has_waiters or g.must_be_served or g.next_start_at]
    return sum(_Service(gate, using).run() for gate in is_marked)


def serve_unlimited(gate: LimitGate, using: str, limit: int) -> int:
    """Let up to ``limit`` tasks go on that wait at a locked ``gate`` of no limit; their number."""
    return _Service(gate, using).run_unlimited(limit)


@dataclass(frozen=True, slots=True)
class _Move:
    """What lets a task go on: it is unblocked, and perhaps started here, in one transaction."""

    unblock: Transition
    start: PlacedStart | None

    def __post_init__(self) -> None:
        if self.start is not None:
            self.start.data["place"] = self.unblock.data["place"]

    @property
    def transitions(self) -> list[Transition]:
        return [self.unblock] if self.start is None else [self.unblock, self.start]


class _Service:
    """Serves those that wait at one locked gate."""

    def __init__(self, gate: LimitGate, using: str) -> None:
        self._gate = gate
        self._using = using
        self._tried: list[int] = []
        self._is_anyone_left = False
        self._turn = gate.turn
        self._offer: Offer

    def run(self) -> int:
        """Give away what is free; the number of tasks that go on."""
        limit = limits_by_name().get(self._gate.name)
        if limit is None:
            return 0  # other nodes may know it
        places = all_rows(LimitPlace, self._using).filter(gate=self._gate)
        self._offer = offer = Offer(self._gate, limit, places, self._using)
        count, has_more = 0, True
        while offer.count and has_more and count < _MAX_TASKS:
            wanted = min(offer.count, _MAX_TASKS)
            waiters = self._next_waiters(wanted)
            has_more = len(waiters) == wanted
            self._hand_over(waiters)
            self._turn = max([self._turn, *(waiter.turn for waiter in waiters)])
            count += len(waiters)
        is_anyone_left = has_more or self._is_anyone_left or self._has_unknown()
        self._save(is_anyone_left, bool(offer.count) and is_anyone_left)
        offer.save(is_awaited=is_anyone_left)
        return count

    def run_unlimited(self, limit: int) -> int:
        """Let up to ``limit`` of those that wait go on without a place; their number."""
        waiters = self._next_waiters(limit)
        self._hand_over(waiters)
        has_more = len(waiters) == limit or self._is_anyone_left or self._has_unknown()
        self._save(has_more, must_be_served=False)
        forget_rate(self._gate, self._using)
        return len(waiters) - int(self._line().filter(pk__in=self._tried).count())

    def _line(self) -> Any:
        return waiters_at(self._gate, self._using)

    def _has_unknown(self) -> bool:
        """Whether tasks wait that only newer nodes know."""
        return bool(self._line().exclude(model__in=known_tables()).exists())

    def _next_waiters(self, count: int) -> list[LimitWaiter]:
        line = self._line().exclude(pk__in=self._tried) if self._tried else self._line()
        waiters = list(line[:count])
        known = known_tables()
        if any(waiter.model not in known for waiter in waiters):
            # Those of models that only a newer node knows are left to it.
            waiters = list(line.filter(model__in=known)[:count])
        self._tried += [waiter.pk for waiter in waiters]
        return waiters

    def _hand_over(self, waiters: Sequence[LimitWaiter]) -> None:
        """Let ``waiters`` go on, with the places that are offered."""
        for table, group in _by_table(waiters).items():
            moves = self._apply_moves(table, group)
            unblocks = [move.unblock for move in moves]
            self._delete_waiters_of([t for t in unblocks if _leaves_waiter(t)])
            self._is_anyone_left |= any(t.error is not None for t in unblocks)  # locked
            self._insert_places(moves)

    def _apply_moves(self, table: str, waiters: Sequence[LimitWaiter]) -> list[_Move]:
        """Let the tasks of ``waiters`` go on, in a savepoint; the moves that were tried.

        What fails for good (a receiver that raises, a row that cannot be read) keeps these tasks
        waiting, and not the outcome of the task that has ended from being recorded.
        """
        moves: list[_Move] = []
        try:
            with transaction.atomic(using=self._using):
                moves += self._moves(table, waiters)
                if transitions := [t for move in moves for t in move.transitions]:
                    apply_all(transitions, using=self._using, savepoint=False, skip_locked=True)
                self._follow_commit(moves)
        except Exception as error:
            if may_be_transient(error):
                raise
            _logger.exception("place_not_given limit=%s", self._gate.name)
            self._is_anyone_left = True
            for move in moves:
                move.unblock.event = None
            self._insert_places(moves)  # none, but their places are free again
            return []
        return moves

    def _moves(self, table: str, waiters: Sequence[LimitWaiter]) -> list[_Move]:
        """The moves of the tasks of ``waiters``; of those without a task, delete them."""
        tasks = _load(table, [waiter.task_key for waiter in waiters], self._using)
        found = {str(task.pk) for task in tasks}
        self._delete_waiters([w.pk for w in waiters if w.task_key not in found])
        return [_Move(self._unblock(task), self._start(task)) for task in tasks]

    def _unblock(self, task: TaskRow) -> Transition:
        data: dict[str, Any] = {"limit": self._gate.name}
        # Else it needs no place here any more.
        if self._needs_place(task) and (number := self._offer.give()) is not None:
            data["place"] = number
        check_at = trusted_until(clock.now(self._using), _CHECK_SECONDS)
        values = {"check_at": earlier_of(check_at, vars(task).get("expires_at"))}
        return Transition(
            task,
            EventKind.UNBLOCK,
            reason=LIMIT_REASON,
            data=data,
            values=values,
            last_known_row={**known_row(task), "run_after": task.run_after},
        )

    def _start(self, task: TaskRow) -> PlacedStart | None:
        """The start that follows at once, if this process can start ``task``."""
        limit, successors = limit_of(task), current_successors()
        if successors is None or limit is None or not self._needs_place(task):
            return None
        # A rate counts starts when they happen.
        return None if limit.rate else successors.start_of(task, self._using)

    def _follow_commit(self, moves: Iterable[_Move]) -> None:
        """Let this process run the tasks that have started here, once that is committed."""
        successors = current_successors()
        if successors is not None:
            starts = [move.start for move in moves if move.start is not None]
            successors.follow_commit(starts, self._using)

    def _needs_place(self, task: TaskRow) -> bool:
        """Whether ``task`` still starts through this gate: its key may have been changed."""
        limit = limit_of(task)
        if limit is None or limit_name(task) != self._gate.name or not has_key(task, limit):
            return False
        return bool(gate_key_of(task, limit).key == self._gate.key)

    def _insert_places(self, moves: Sequence[_Move]) -> None:
        """Hold the places for the tasks that go on; of the others they are free."""
        with_place = [move for move in moves if self._needs_place(move.unblock.task)]
        for move in with_place:
            if move.unblock.event is None:
                self._offer.take_back(move.unblock.data.get("place"))
        places = [self._place_for(move) for move in with_place if move.unblock.event is not None]
        all_rows(LimitPlace, self._using).bulk_create(places)

    def _place_for(self, move: _Move) -> LimitPlace:
        task, start = move.unblock.task, move.start
        is_here = start is not None and start.event is not None
        until = clock.after(self._using, _CLAIM_SECONDS)
        return LimitPlace(
            gate=self._gate,
            number=move.unblock.data.get("place"),
            model=table_label(task),
            task_key=str(task.pk),
            attempt=task.attempt if is_here else task.attempt + 1,
            worker=start.worker if start is not None and is_here else "",
            held_until=lease_end_of(start) if start is not None and is_here else until,
        )

    def _delete_waiters_of(self, unblocks: Sequence[Transition]) -> None:
        """Delete the waiters of tasks that did not wait any more, or go on without a limit."""
        if unblocks:
            claims = [Claim(table_label(t.task), str(t.task.pk), 0) for t in unblocks]
            waiters = all_rows(LimitWaiter, self._using).filter(claimed_by(claims))
            waiters._raw_delete(self._using)

    def _delete_waiters(self, pks: Sequence[int]) -> None:
        if pks:
            all_rows(LimitWaiter, self._using).filter(pk__in=pks)._raw_delete(self._using)

    def _save(self, has_waiters: bool, must_be_served: bool) -> None:
        gate = self._gate
        before = (gate.has_waiters, gate.must_be_served, gate.turn)
        if before != (has_waiters, must_be_served, self._turn):
            all_rows(LimitGate, self._using).filter(pk=gate.pk).update(
                has_waiters=has_waiters, must_be_served=must_be_served, turn=self._turn
            )


def _leaves_waiter(unblock: Transition) -> bool:
    """Whether the waiter is still there; that of a task with a limit goes with its event."""
    is_unlimited = unblock.event is not None and not has_limit(type(unblock.task))
    return is_unlimited or unblock.refusal is not None


def _by_table(waiters: Iterable[LimitWaiter]) -> dict[str, list[LimitWaiter]]:
    by_table: dict[str, list[LimitWaiter]] = {}
    for waiter in waiters:
        by_table.setdefault(waiter.model, []).append(waiter)
    return by_table


def _load(table: str, keys: Sequence[str], using: str) -> Sequence[TaskRow]:
    """The tasks with these keys, as far as they exist."""
    root: Any = apps.get_model(table)
    return load_tasks(root, using, pks_by_key(root, keys).values())
