"""Letting go of what is old enough: finished tasks, their payloads, streams of deleted tasks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import Error, models, transaction
from django.db.models import Exists, OuterRef, ProtectedError, Q, RestrictedError
from django.db.models.deletion import Collector

from ..context import acting_as
from ..db import clock
from ..exceptions import TaskHeld
from ..ledger import tombstone as tombstones
from ..ledger.event import event_model_of, events_of
from ..ledger.tombstone import PruneTarget
from ..models.loading import as_saved
from ..models.queryset import rows_of
from ..models.registry import databases_of, roots
from ..models.task import SimpleTask
from ..states import EventKind
from ..transitions import writer
from ..transitions.erasure import erase
from ..transitions.legal_holds import held
from .rules import Rule, rules

_logger = logging.getLogger(__name__)

REASON = "retention"

#: Whose event of the kind may say what a body returned or raised.
_SPEAKING = (EventKind.FAIL, EventKind.RETRY, EventKind.DROP, EventKind.RESET)


@dataclass(slots=True)
class Pruned:
    """What one rule did to one table; ``held`` and ``protected`` ones were left alone."""

    model: str
    database: str
    rule: Rule
    gone: int = 0
    events: int = 0
    held: int = 0
    protected: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """How to go about it: in batches of ``size`` tasks, for ``reason``; a ``dry_run`` counts only.

    ``on_batch`` is told the sum so far after each batch; ``may_go_on`` is asked before each.
    """

    size: int = 500
    reason: str = REASON
    dry_run: bool = False
    on_batch: Callable[[Pruned], object] = lambda result: None
    may_go_on: Callable[[], bool] = lambda: True


def pruned(
    chosen: Collection[type[SimpleTask]] | None = None, plan: Plan = Plan()
) -> Iterator[Pruned]:
    """Let go of what the models' ``django_simpletask3_retention`` says; what each rule did.

    Each batch is a transaction with its tombstone: a kill loses and halves nothing, and any number
    of processes may do it at once. Tasks that are on hold stay, and those that a foreign key
    protects. Where nothing is old enough, nothing is written.
    """
    for root in roots(chosen):
        for rule in rules(root.django_simpletask3_retention):
            for using in databases_of(root):
                if not plan.may_go_on():
                    return
                result = Pruned(root._meta.label, using, rule)
                _follow(root, result, plan)
                yield result


def due(may_go_on: Callable[[], bool] = lambda: True) -> int:
    """Let go of everything that is due, for a server; how many tasks.

    A table whose database fails is logged and stops no other.
    """
    with acting_as(REASON):
        return sum(_due_in(root, may_go_on) for root in roots())


def _due_in(root: type[SimpleTask], may_go_on: Callable[[], bool]) -> int:
    gone = 0
    try:
        for result in pruned([root], Plan(may_go_on=may_go_on)):
            gone += result.gone
            if result.gone:
                _logger.info(
                    "pruned model=%s database=%s rule=%s tasks=%s",
                    result.model,
                    result.database,
                    result.rule,
                    result.gone,
                )
    except Error as error:
        _logger.warning("retention_failed model=%s error=%s", root._meta.label, error)
    return gone


def _follow(root: type[SimpleTask], result: Pruned, plan: Plan) -> None:
    clock.calibrate(result.database)
    for pks in _batches(root, result, plan.size):
        spared = held(root, result.database, pks)
        free = [pk for pk in pks if pk not in spared]
        result.held += len(spared)
        if plan.dry_run:
            result.gone += len(free)
        elif free:
            _let_go(root, result, free, plan.reason)
        plan.on_batch(result)
        if not plan.may_go_on():
            return


def _batches(root: type[SimpleTask], result: Pruned, size: int) -> Iterator[list[Any]]:
    """The keys of what is old enough, oldest first: by an index, never counted from the start."""
    old, moment, key = _old(root, result)
    old = old.order_by(moment, key)
    further = Q()
    while found := list(old.filter(further).values_list(key, moment)[:size]):
        yield [pk for pk, _ in found]
        pk, when = found[-1]
        # By key, too: many may have ended at one instant. Those that stay are passed by.
        further = Q(**{f"{moment}__gt": when}) | Q(**{moment: when, f"{key}__gt": pk})
        further &= Q(**{f"{moment}__gte": when})


def _old(root: type[SimpleTask], result: Pruned) -> tuple[Any, str, str]:
    """What the rule speaks of, the column of its time, and that of its key."""
    rule, using = result.rule, result.database
    event_model: Any = event_model_of(root)
    streams: Any = models.QuerySet(event_model, using=using)
    before = clock.now(using) - rule.age
    if rule.status is None:
        rows = rows_of(root, using).filter(pk=OuterRef("task_id"))
        ends = streams.filter(kind=EventKind.DELETE, event_time__lt=before)
        return ends.filter(~Exists(rows)), "event_time", "task_id"
    old = rows_of(root, using).filter(status=rule.status, done_time__lt=before)
    if rule.what is PruneTarget.PAYLOAD:
        mine = streams.filter(task_id=OuterRef("pk"))
        speaks = Exists(mine.filter(kind__in=_SPEAKING)) & ~Exists(
            mine.filter(kind=EventKind.ERASE)
        )
        old = old.filter(Q(result_data__isnull=False) | Q(error_data__isnull=False) | Q(speaks))
    return old, "done_time", "pk"


def _let_go(root: type[SimpleTask], result: Pruned, pks: Sequence[Any], reason: str) -> None:
    """Let a batch go in one transaction; one by one if something in it may not be deleted."""
    try:
        _gone(root, result, pks, reason)
    except (ProtectedError, RestrictedError, TaskHeld):
        if len(pks) == 1:
            result.protected += 1
            return
        for pk in pks:
            _let_go(root, result, [pk], reason)


def _gone(root: type[SimpleTask], result: Pruned, pks: Sequence[Any], reason: str) -> None:
    using, rule = result.database, result.rule
    with transaction.atomic(using=using):
        if rule.what is PruneTarget.PAYLOAD:
            writer.lock(root, using, pks)
            tasks = [task for task in as_saved(root, using, pks) if task.status == rule.status]
            result.gone += erase(tasks, reason, str(rule)) if tasks else 0
            return
        with transaction.atomic(using=using):
            count, events = _buried(root, result, pks, reason)
    result.gone += count
    result.events += events


def _buried(
    root: type[SimpleTask], result: Pruned, pks: Sequence[Any], reason: str
) -> tuple[int, int]:
    """Delete rows and streams under a tombstone; how many, and how many events."""
    using, rule = result.database, result.rule
    writer.lock(root, using, pks)
    digests = _still_old(root, result, pks)
    if not digests:
        return 0, 0
    event_model: Any = event_model_of(root)
    streams: Any = models.QuerySet(event_model, using=using).filter(task__in=digests)
    with tombstones.raised(using, root._meta.label, rule.what, reason, str(rule)) as tombstone:
        tombstone.first_time, tombstone.last_time = _span(streams)
        with tombstones.digging(root._meta.db_table, digests):
            _delete(as_saved(root, using, digests), using)
        events = streams._raw_delete(using)
        tombstone.inscribe(digests, events=events)
    return len(digests), events


def _delete(tasks: Sequence[SimpleTask], using: str) -> None:
    """As a queryset deletes, with everything that follows from it; raises what protects them."""
    by_model: dict[type[SimpleTask], list[SimpleTask]] = {}
    for task in tasks:
        by_model.setdefault(type(task), []).append(task)
    for together in by_model.values():
        collector = Collector(using=using)
        collector.collect(together)
        collector.delete()


def _span(streams: Any) -> tuple[Any, Any]:
    span = streams.aggregate(first=models.Min("event_time"), last=models.Max("event_time"))
    return span["first"], span["last"]


def _still_old(root: type[SimpleTask], result: Pruned, pks: Sequence[Any]) -> dict[Any, str]:
    """The last digests of those that nobody has moved, held or brought back meanwhile."""
    using, rule = result.database, result.rule
    spared = held(root, using, pks)
    if rule.status is None:
        last = events_of(root, using).filter(task__in=pks).values_list("task_id", "kind", "digest")
        ends = {pk: (kind, digest) for pk, kind, digest in last}
        back = set(rows_of(root, using).filter(pk__in=pks).values_list("pk", flat=True))
        spared |= back | {pk for pk, (kind, _) in ends.items() if kind != EventKind.DELETE}
        return {pk: digest for pk, (_, digest) in ends.items() if pk not in spared}
    rows = rows_of(root, using).filter(pk__in=pks, status=rule.status)
    rows = rows.filter(done_time__lt=clock.now(using) - rule.age)
    return {pk: digest for pk, digest in rows.values_list("pk", "digest") if pk not in spared}
