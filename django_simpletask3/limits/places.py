"""The rows of limits: lock gates, take and free places."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connections, transaction
from django.db.models import Q

from ..ledger.task_row import TaskRow, all_rows, table_model
from .declared import limit_name
from .limit import Limit
from .tables import LimitGate, LimitPlace, LimitWaiter


class GateKey(NamedTuple):
    """What names a gate: a limit, and the hash of a key."""

    name: str
    key: Any


class Claim(NamedTuple):
    """One attempt of a task, as places name it."""

    table: str
    key: str
    attempt: int


def table_label(task: TaskRow) -> str:
    """How places and waiters name the table of ``task``."""
    return table_model(type(task))._meta.label


def gate_key_of(task: TaskRow, limit: Limit) -> GateKey:
    """The gate through which ``task`` starts."""
    return GateKey(limit_name(task), limit.key_of(task))


def lock_gates_of(keys: Collection[GateKey], using: str) -> dict[GateKey, LimitGate]:
    """The locked gates of ``keys``; those that do not exist are inserted."""
    keys = set(keys)
    gates = _lock(_by_keys(keys), using)
    if missing := sorted(keys - gates.keys(), key=str):
        rows = [LimitGate(name=name, key=key) for name, key in missing]
        all_rows(LimitGate, using).bulk_create(rows, ignore_conflicts=True)
        gates |= _lock(_by_keys(missing), using)
    return gates


def lock_gates(pks: Iterable[int], using: str) -> dict[GateKey, LimitGate]:
    """The locked gates of these keys, as far as they exist."""
    return _lock(Q(pk__in=list(pks)), using)


def _by_keys(keys: Iterable[GateKey]) -> Q:
    by_name: dict[str, list[Any]] = {}
    for name, key in keys:
        by_name.setdefault(name, []).append(key)
    condition = Q()
    for name, group in by_name.items():
        condition |= Q(name=name, key__in=group)
    return condition


def lock_places_of(claims: Sequence[Claim], using: str) -> list[LimitPlace]:
    """The places that these attempts hold, whose gates are locked; one query where it can be.

    Those of a gate that was waited for may have been freed meanwhile.
    """
    features = connections[using].features
    if features.has_select_for_update and not features.has_select_for_update_of:
        held = places_of_claims(claims, using)
        gates = {gate.pk: gate for gate in lock_gates({p.gate_id for p in held}, using).values()}
        places = [place for place in held if place.gate_id in gates]
        for place in places:
            place.gate = gates[place.gate_id]
        return places
    places_with_gates = all_rows(LimitPlace, using).select_related("gate").order_by("gate_id")
    if features.has_select_for_update:
        places_with_gates = places_with_gates.select_for_update(of=("gate",))
    return _held_by(claims, places_with_gates)


def _lock(condition: Q, using: str) -> dict[GateKey, LimitGate]:
    # In the order of their keys: no two transactions wait for each other.
    gates = all_rows(LimitGate, using).filter(condition).order_by("pk")
    if connections[using].features.has_select_for_update:
        gates = gates.select_for_update()
    return {GateKey(gate.name, gate.key): gate for gate in gates}


def places_of_claims(claims: Sequence[Claim], using: str) -> list[LimitPlace]:
    """The places that these attempts hold."""
    return _held_by(claims, all_rows(LimitPlace, using)) if claims else []


def _held_by(claims: Iterable[Claim], places: Any) -> list[LimitPlace]:
    wanted = set(claims)
    return [place for place in places.filter(claimed_by(wanted)) if claim_of(place) in wanted]


def claim_of(place: LimitPlace) -> Claim:
    """The attempt that holds ``place``."""
    return Claim(place.model, place.task_key, place.attempt)


def claimed_by(claims: Iterable[Claim]) -> Q:
    """The condition of the places, or waiters, of the tasks of ``claims``, whatever the attempt."""
    by_table: dict[str, list[str]] = {}
    for claim in claims:
        by_table.setdefault(claim.table, []).append(claim.key)
    condition = Q()
    for table, keys in by_table.items():
        condition |= Q(model=table, task_key__in=keys)
    return condition


def delete_places(pks: Collection[int], using: str) -> None:
    """Free these places. Their gates must be locked."""
    if pks:
        all_rows(LimitPlace, using).filter(pk__in=pks)._raw_delete(using)


def free_numbers(running: int, taken: Collection[int]) -> list[int]:
    """The numbers of the free ones of ``running`` places, while those of ``taken`` are held.

    If the limit was lowered, more places than it has may be held.
    """
    count = max(0, running - len(taken))
    return [n for n in range(1, running + 1) if n not in taken][:count]


def waiters_at(gate: LimitGate, using: str) -> Any:
    """Those that wait at ``gate``, in the order in which they are served."""
    return all_rows(LimitWaiter, using).filter(gate=gate).order_by("rank", "turn", "add_time", "pk")


def renew_places(
    model: type[TaskRow], pks: Iterable[object], worker: str, until: datetime, using: str
) -> None:
    """Let ``worker`` hold the places of these tasks until then.

    Those that another transaction has locked are renewed next time.
    """
    places = all_rows(LimitPlace, using).filter(
        model=table_model(model)._meta.label, task_key__in=[str(pk) for pk in pks], worker=worker
    )
    with transaction.atomic(using=using):
        found = lock_places(places, skip_locked=True)
        if found:
            own_places = all_rows(LimitPlace, using).filter(pk__in=[place.pk for place in found])
            own_places.update(held_until=until)


def lock_places(places: Any, *, skip_locked: bool) -> list[LimitPlace]:
    """The ``places``, locked where the database can do that.

    In the order of their keys: no two transactions wait for each other.
    """
    features = connections[places.db].features
    places = places.order_by("pk")
    if features.has_select_for_update:
        can_skip = features.has_select_for_update_skip_locked
        places = places.select_for_update(skip_locked=skip_locked and can_skip)
    return list(places)
