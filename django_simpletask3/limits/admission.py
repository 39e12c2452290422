"""Give starting tasks a place of their limit, or let them wait for one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db.models import Max

from ..conf.priorities import nearest_priority
from ..db import clock
from ..exceptions import LimitReached, TransitionRefused
from ..ledger.task_row import TaskRow, all_rows, table_model, task_name
from ..states import LIMIT_REASON, EventKind, Status
from ..transitions.expiry import reject_by_expiry
from ..transitions.transition import Transition
from .declared import has_key, limit_of
from .limit import Limit
from .offer import Offer
from .places import (
    Claim,
    GateKey,
    claim_of,
    claimed_by,
    gate_key_of,
    lock_gates_of,
    places_of_claims,
    table_label,
    waiters_at,
)
from .successors import PlacedStart
from .tables import LimitGate, LimitPlace, LimitWaiter

if TYPE_CHECKING:
    from ..db.locked_rows import LockedRows

_FIRST_SEQUENCE_WITH_PLACE = 3


def admit(transitions: Sequence[Transition], rows: LockedRows, using: str) -> Sequence[Transition]:
    """The transitions to apply: a start that gets no place is replaced by a ``block``.

    Only starts that would succeed take a place. One that is turned away gets LimitReached.
    """
    transitions = [t for t in transitions if not _is_left_out(t, rows)]
    starts = _starts(transitions, rows, using)
    if not starts:
        return transitions
    blocks = _Admission(starts, rows, using).decide()
    return [blocks.get(id(transition), transition) for transition in transitions]


def _is_left_out(transition: Transition, rows: LockedRows) -> bool:
    """Whether a start is left out that was to follow the unblocking of its task.

    The task was unblocked meanwhile, and a message was pushed for it.
    """
    row = rows.get(transition.task.pk) if isinstance(transition, PlacedStart) else None
    return row is not None and row["status"] != Status.BLOCKED


def _starts(
    transitions: Iterable[Transition], rows: LockedRows, using: str
) -> list[tuple[Transition, Limit]]:
    """The starts of limited tasks that would succeed, each task once."""
    starts: dict[Any, tuple[Transition, Limit]] = {}
    without_key: list[Transition] = []
    for transition in transitions:
        if transition.kind is not EventKind.START or isinstance(transition, PlacedStart):
            continue  # this one has its place
        limit = limit_of(transition.task)
        transition.data.pop("place", None)  # of an attempt that was rolled back
        if limit is None or not _may_start(transition, rows, using):
            continue
        if has_key(transition.task, limit):
            starts.setdefault(transition.task.pk, (transition, limit))
        elif _may_have_place(transition, rows):
            without_key.append(transition)
    _give_up_places_of(without_key, rows, using)
    return list(starts.values())


def _give_up_places_of(transitions: Iterable[Transition], rows: LockedRows, using: str) -> None:
    """Let the places end that these tasks were given before they lost their keys."""
    claims = [
        Claim(table_label(t.task), str(t.task.pk), _next_attempt(t, rows)) for t in transitions
    ]
    _let_end(places_of_claims(claims, using), using)


def _let_end(places: Iterable[LimitPlace], using: str) -> None:
    """Let the maintenance job give ``places`` away."""
    if pks := [place.pk for place in places]:
        now = clock.now(using)
        all_rows(LimitPlace, using).filter(pk__in=pks).update(held_until=now)


def _may_start(transition: Transition, rows: LockedRows, using: str) -> bool:
    row = rows.get(transition.task.pk)
    if row is None or row["status"] != Status.PENDING or transition.mismatches(row):
        return False
    try:
        reject_by_expiry(transition.task, transition.kind, row, clock.now(using))
    except TransitionRefused:
        return False
    return True


class _Admission:
    """The decision on some starts of one table, whose rows are locked."""

    def __init__(
        self, starts: Sequence[tuple[Transition, Limit]], rows: LockedRows, using: str
    ) -> None:
        self._using = using
        self._starts = starts
        self._limits = {id(t): limit for t, limit in starts}
        self._attempts = {id(t): _next_attempt(t, rows) for t, _ in starts}
        self._keys = {id(t): gate_key_of(t.task, limit) for t, limit in starts}
        self._gates = lock_gates_of(set(self._keys.values()), using)
        given_claims = {self._claim_of(t) for t, _ in starts if _may_have_place(t, rows)}
        places = self._read_places(given_claims)
        gate_of_task = {str(t.task.pk): self._gate_of(t).pk for t, _ in starts}
        handed_over = [p for p in places if given_claims and claim_of(p) in given_claims]
        #: Those that were given at another gate were so for an earlier key of the task.
        self._elsewhere = [p for p in handed_over if p.gate_id != gate_of_task[p.task_key]]
        self._own_places = {p.task_key: p for p in handed_over if p not in self._elsewhere}
        limits = {self._keys[id(t)]: limit for t, limit in starts}
        at_gate: defaultdict[int, list[LimitPlace]] = defaultdict(list)
        for place in places:
            at_gate[place.gate_id].append(place)
        self._offers = {
            key: Offer(gate := self._gates[key], limit, at_gate[gate.pk], using)
            for key, limit in limits.items()
        }
        #: The gates at which others wait: these are served first.
        self._awaited: dict[GateKey, bool] = {}

    def decide(self) -> dict[int, Transition]:
        """Take the places; the ``block`` of each start that has none, by the id of the start."""
        new_places: list[LimitPlace] = []
        turned_away: list[Transition] = []
        _let_end(self._elsewhere, self._using)
        for transition, _ in self._starts:
            own_place = self._own_places.get(str(transition.task.pk))
            if own_place is not None:
                if not self._begin(transition, own_place):
                    turned_away.append(transition)
            elif self._can_take(transition):
                number = self._offer_for(transition).take()
                new_places += [self._new_place(transition, number)] if number is not None else []
            else:
                turned_away.append(transition)
        all_rows(LimitPlace, self._using).bulk_create(new_places)
        return self._block(turned_away)

    def _offer_for(self, transition: Transition) -> Offer:
        return self._offers[self._keys[id(transition)]]

    def _gate_of(self, transition: Transition) -> LimitGate:
        return self._gates[self._keys[id(transition)]]

    def _claim_of(self, transition: Transition) -> Claim:
        """The attempt that ``transition`` begins."""
        task = transition.task
        return Claim(table_label(task), str(task.pk), self._attempts[id(transition)])

    def _read_places(self, given: Collection[Claim]) -> list[LimitPlace]:
        """The places that are held at the gates, and those that were ``given``, in one query."""
        places = all_rows(LimitPlace, self._using)
        at_gates = places.filter(gate__in=[gate.pk for gate in self._gates.values()])
        return list(at_gates.union(places.filter(claimed_by(given))) if given else at_gates)

    def _begin(self, transition: Transition, place: LimitPlace) -> bool:
        """Let ``transition`` start with the place that it was given, or take that back.

        A place without number ends with the start.
        """
        offer, own_row = self._offer_for(transition), all_rows(LimitPlace, self._using)
        own_row = own_row.filter(pk=place.pk)
        may_start = offer.start_given(place)
        if not may_start:
            offer.take_back(place.number)
        if place.number is None or not may_start:
            own_row._raw_delete(self._using)
        else:
            transition.data["place"] = place.number
            own_row.update(worker=transition.worker, held_until=self._until(transition))
        return may_start

    def _can_take(self, transition: Transition) -> bool:
        """Whether ``transition`` can start before those that wait: only if none does."""
        key = self._keys[id(transition)]
        if not self._offers[key].count:
            return False
        if key not in self._awaited:
            gate = self._gates[key]
            self._awaited[key] = gate.has_waiters and waiters_at(gate, self._using).exists()
            if self._awaited[key]:
                all_rows(LimitGate, self._using).filter(pk=gate.pk).update(must_be_served=True)
        return not self._awaited[key]

    def _new_place(self, transition: Transition, number: int) -> LimitPlace:
        transition.data["place"] = number
        return LimitPlace(
            gate=self._gate_of(transition),
            number=number,
            model=table_label(transition.task),
            task_key=str(transition.task.pk),
            attempt=self._attempts[id(transition)],
            worker=transition.worker,
            held_until=self._until(transition),
        )

    def _until(self, transition: Transition) -> datetime:
        """The end of the lease."""
        until: datetime | None = transition.values.get("check_at")
        return clock.now(self._using) if until is None else until

    def _block(self, turned_away: Sequence[Transition]) -> dict[int, Transition]:
        """Let these tasks wait in line; save what the rates have counted."""
        awaited = {self._keys[id(transition)] for transition in turned_away}
        for key, offer in self._offers.items():
            offer.save(is_awaited=key in awaited or self._gates[key].has_waiters)
        if not turned_away:
            return {}
        tasks = [transition.task for transition in turned_away]
        waiters = [self._new_waiter(transition) for transition in turned_away]
        _assign_turns(waiters, self._using)
        _replace_waiters(tasks, waiters, self._using)
        gates = {gate.pk for gate in map(self._gate_of, turned_away) if not gate.has_waiters}
        if gates:
            all_rows(LimitGate, self._using).filter(pk__in=gates).update(has_waiters=True)
        return {id(t): self._block_in_place_of(t) for t in turned_away}

    def _new_waiter(self, transition: Transition) -> LimitWaiter:
        task = transition.task
        return LimitWaiter(
            gate=self._gate_of(transition),
            rank=-nearest_priority(int(task.priority)),
            add_time=task.add_time,
            block_time=clock.now(self._using),
            fair_key=self._limits[id(transition)].fair_key_of(task),
            model=table_label(task),
            task_key=str(task.pk),
        )

    def _block_in_place_of(self, start: Transition) -> Transition:
        gate = self._gate_of(start)
        start.refusal = LimitReached(
            f"{task_name(start.task)} waits: its limit {gate.name} has no free place.",
            pk=start.task.pk,
            kind=start.kind,
        )
        return Transition(
            start.task,
            EventKind.BLOCK,
            reason=LIMIT_REASON,
            worker=start.worker,
            data={"limit": gate.name},
        )


def _may_have_place(transition: Transition, rows: LockedRows) -> bool:
    """Whether the task may have been given a place: not before it was enqueued, had to wait, and
    was unblocked.
    """
    row: Mapping[str, Any] = rows.get(transition.task.pk) or {}
    return int(row["sequence"]) >= _FIRST_SEQUENCE_WITH_PLACE


def _next_attempt(transition: Transition, rows: LockedRows) -> int:
    row: Mapping[str, Any] = rows.get(transition.task.pk) or {}
    return int(row["attempt"]) + 1


def _replace_waiters(tasks: Sequence[TaskRow], waiters: Sequence[LimitWaiter], using: str) -> None:
    """Insert ``waiters``, in the place of those that nodes without the limit have left behind."""
    label = table_model(type(tasks[0]))._meta.label
    left_behind = all_rows(LimitWaiter, using).filter(
        model=label, task_key__in=[str(task.pk) for task in tasks]
    )
    if pks := list(left_behind.values_list("pk", flat=True)):
        left_behind.filter(pk__in=pks)._raw_delete(using)
    all_rows(LimitWaiter, using).bulk_create(waiters)


def _assign_turns(waiters: Sequence[LimitWaiter], using: str) -> None:
    """Let the values of ``fair_by`` take turns: start-time fair queueing, by one query.

    The turn of a waiter is the one after the last of its value in the line, and after the one that
    was served last.
    """
    fair = [waiter for waiter in waiters if waiter.fair_key is not None]
    if not fair:
        return
    line = all_rows(LimitWaiter, using).filter(
        gate__in={waiter.gate_id for waiter in fair},
        fair_key__in={waiter.fair_key for waiter in fair},
    )
    last_turns = line.order_by().values_list("gate", "fair_key").annotate(Max("turn"))
    turns = {(gate, key): turn for gate, key, turn in last_turns}
    for waiter in fair:
        key = (waiter.gate_id, waiter.fair_key)
        waiter.turn = turns[key] = max(waiter.gate.turn, turns.get(key, 0)) + 1
