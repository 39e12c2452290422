"""Free places that ended with their leases, and serve gates that nothing else serves."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.apps import apps
from django.db import Error, models, transaction
from django.db.models import Exists, OuterRef, Q, Value
from django.db.models.functions import Cast

from ..batches import batches
from ..conf.time_source import stored
from ..db import clock
from ..db.conflicts import repeat_on_conflict
from ..db.loading import pks_by_key
from ..db.locks import begin_write
from ..ledger.task_row import all_rows
from ..logs import get_logger
from ..states import Status
from .declared import limited_models, limits_by_name
from .hand_over import serve, serve_unlimited
from .places import delete_places, lock_gates, lock_places
from .tables import LimitGate, LimitPlace

_logger = get_logger(__name__)

_BATCH = 200
#: Seconds after which a place is looked at again whose task is left to recovery.
_RECOVERY_SECONDS = 5.0
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def due_queries(using: str) -> dict[str, Any]:
    """Queries of the times from which ``serve_limits`` has work; none if no model has a limit."""
    if not any(limited_models()):
        return {}
    flagged = all_rows(LimitGate, using).filter(must_be_served=True, name__in=limits_by_name())
    # In a union, MariaDB takes a bare value for a text.
    time_field: Any = models.DateTimeField()
    long_ago = Cast(Value(stored(_LONG_AGO), time_field), time_field)
    return {
        "rates": _timed_gates(using).values_list("next_start_at"),
        "places": all_rows(LimitPlace, using).order_by("held_until").values_list("held_until"),
        "gates": flagged.annotate(moment=long_ago).values_list("moment"),
    }


def serve_limits(using: str, judge_until: datetime | None, seconds: float) -> int:
    """Free the places whose time has ended, and serve the gates that are marked; their number.

    The lease of a worker must have ended before ``judge_until``; None judges none. A place is not
    freed while its attempt is RUNNING: recovery decides on that. No gate is begun after
    ``seconds``.
    """
    latest = time.monotonic() + seconds
    ended = _ended_places(using, judge_until)
    gates = {place.gate_id for place in ended} | set(_marked_gates(using))
    names = _names_of(gates, using)
    count = 0
    for gate in sorted(gates):
        if count and time.monotonic() > latest:
            break
        places = [place for place in ended if place.gate_id == gate]
        try:
            repeat_on_conflict(using, partial(_serve_gate, gate, places, using))
        except Error as error:
            limit, key = names.get(gate, ("", ""))
            _logger.warning(
                "limit_not_served database=%s limit=%s key=%s error=%s", using, limit, key, error
            )
        count += 1
    return count


def _names_of(gates: Collection[int], using: str) -> dict[int, tuple[str, Any]]:
    """What the log calls ``gates``: their limits, and the hashes of their keys."""
    rows = all_rows(LimitGate, using).filter(pk__in=gates).values_list("pk", "name", "key")
    return {pk: (name, key) for pk, name, key in rows} if gates else {}


def seconds_until_next(using: str) -> float | None:
    """Seconds until the next start that a rate allows and a task waits for; None without one."""
    now = clock.now(using)
    later = _timed_gates(using).filter(next_start_at__gt=now)
    moment = later.values_list("next_start_at", flat=True).first()
    return None if moment is None else (moment - now).total_seconds()


def mark_gates(using: str) -> None:
    """Mark the gates where tasks wait: their limits may have been raised."""
    waited_at = all_rows(LimitGate, using).filter(has_waiters=True, must_be_served=False)
    known = waited_at.filter(name__in=limits_by_name()).order_by("pk")
    for batch in batches(list(known.values_list("pk", flat=True)), _BATCH):
        repeat_on_conflict(using, partial(_mark, batch, using))


def _mark(pks: Sequence[int], using: str) -> None:
    with transaction.atomic(using=using):
        begin_write(LimitGate, using)
        lock_gates(pks, using)  # in the order of their keys, as everywhere
        all_rows(LimitGate, using).filter(pk__in=pks).update(must_be_served=True)


def release_unlimited(using: str, seconds: float) -> int:
    """Let tasks go on whose limit was removed or renamed; their number.

    Those of models that only a newer node knows go on waiting. No batch begins after ``seconds``.
    """
    latest, total = time.monotonic() + seconds, 0
    waited_at = all_rows(LimitGate, using).filter(has_waiters=True)
    for pk in waited_at.exclude(name__in=limits_by_name()).values_list("pk", flat=True):
        while count := repeat_on_conflict(using, partial(_serve_unlimited, pk, using)):
            total += count
            if time.monotonic() >= latest:
                return total
    return total


def delete_idle_gates(using: str, limit: int = 10_000) -> int:
    """Delete gates at which no place is taken and no task waits, at most ``limit``; their number.

    The next start of their keys inserts them again.
    """
    count = 0
    while count < limit:
        pks = list(_idle_gates(using).order_by("pk").values_list("pk", flat=True)[:_BATCH])
        repeat_on_conflict(using, partial(_delete_gates, pks, using))
        count += len(pks)
        if len(pks) < _BATCH:
            break
    return count


def _idle_gates(using: str) -> Any:
    places = all_rows(LimitPlace, using).filter(gate=OuterRef("pk"))
    gates = all_rows(LimitGate, using).filter(has_waiters=False, must_be_served=False)
    counts_nothing = Q(arrival_time=None) | Q(arrival_time__lte=clock.now(using))
    return gates.filter(~Exists(places), counts_nothing)


def _delete_gates(pks: Sequence[int], using: str) -> None:
    with transaction.atomic(using=using):
        begin_write(LimitGate, using)
        lock_gates(pks, using)
        # A task may have started meanwhile, before they were locked.
        idle = list(_idle_gates(using).filter(pk__in=pks).values_list("pk", flat=True))
        all_rows(LimitGate, using).filter(pk__in=idle)._raw_delete(using)


def _timed_gates(using: str) -> Any:
    gates = all_rows(LimitGate, using).filter(
        next_start_at__isnull=False, name__in=limits_by_name()
    )
    return gates.order_by("next_start_at")


def _marked_gates(using: str) -> Iterable[int]:
    """The gates that are marked, and those whose rate allows a start that some wait for."""
    gates = all_rows(LimitGate, using).filter(name__in=limits_by_name())
    marked = gates.filter(must_be_served=True).values_list("pk", flat=True)[:_BATCH]
    due = _timed_gates(using).filter(next_start_at__lte=clock.now(using))
    return [*marked, *due.values_list("pk", flat=True)[:_BATCH]]


def _serve_gate(pk: int, ended: Iterable[LimitPlace], using: str) -> None:
    with transaction.atomic(using=using):
        begin_write(LimitGate, using)
        gates = lock_gates([pk], using)
        delete_places(_unchanged(ended, using), using)
        serve(gates.values(), using)


def _unchanged(ended: Iterable[LimitPlace], using: str) -> list[int]:
    """The keys of those of ``ended`` that were not renewed meanwhile, and that are not locked.

    A user may hold one locked who cancels its task in a long transaction: that is not waited for.
    """
    until = {place.pk: place.held_until for place in ended}
    places = lock_places(all_rows(LimitPlace, using).filter(pk__in=until), skip_locked=True)
    return [place.pk for place in places if place.held_until == until[place.pk]]


def _serve_unlimited(pk: int, using: str) -> int:
    with transaction.atomic(using=using):
        begin_write(LimitGate, using)
        return sum(
            serve_unlimited(gate, using, _BATCH) for gate in lock_gates([pk], using).values()
        )


def _ended_places(using: str, judge_until: datetime | None) -> list[LimitPlace]:
    has_ended = Q(worker="", held_until__lte=clock.now(using))
    if judge_until is not None:
        has_ended |= ~Q(worker="") & Q(held_until__lte=judge_until)
    places = list(all_rows(LimitPlace, using).filter(has_ended).order_by("held_until")[:_BATCH])
    left_to_recovery = [place for place in places if place.worker and _is_running(place, using)]
    if left_to_recovery:
        later = clock.after(using, _RECOVERY_SECONDS)
        for place in left_to_recovery:
            # Unless it was renewed meanwhile.
            as_read = all_rows(LimitPlace, using).filter(pk=place.pk, held_until=place.held_until)
            as_read.update(held_until=later)
    return [place for place in places if place not in left_to_recovery]


def _is_running(place: LimitPlace, using: str) -> bool:
    """Whether the row says that the attempt runs which holds ``place``."""
    try:
        root: Any = apps.get_model(place.model)
    except LookupError:
        return False
    pks = pks_by_key(root, [place.task_key]).values()
    running = all_rows(root, using).filter(status=Status.RUNNING, attempt=place.attempt)
    return running.filter(pk__in=pks).exists()
