"""Prune old data: finished tasks, their payloads, and streams of deleted tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import Error, models, transaction
from django.db.models import Exists, OuterRef, ProtectedError, Q, RestrictedError
from django.db.models.deletion import Collector

from ..context import acting_as
from ..db import clock
from ..db.loading import load_tasks
from ..exceptions import TaskHeld
from ..ledger import tombstone as tombstones
from ..ledger.event import events_of
from ..ledger.task_row import has_unique_key
from ..ledger.tombstone import PruneTarget
from ..logs import get_logger
from ..models.each_database import in_each_database
from ..models.queryset import rows_of
from ..models.registry import databases_of, table_models, tables_in, task_databases
from ..models.task import SimpleTask
from ..states import EventKind, Payload, kinds_where
from ..transitions import writer
from ..transitions.erasure import erase
from ..transitions.legal_holds import pks_on_hold
from .rules import Rule, parse_rules

_logger = get_logger(__name__)

REASON = "retention"

#: Kinds whose events may hold parts of a result or an error; of a result, ``ack`` holds a digest.
_KINDS_WITH_PAYLOAD = kinds_where(lambda spec: bool(spec.carries - {Payload.RESULT}))


@dataclass(slots=True)
class PruneResult:
    """The numbers for one rule and table; tasks ``on_hold`` or ``protected`` were not pruned."""

    model: str
    database: str
    rule: Rule
    pruned: int = 0
    events: int = 0
    on_hold: int = 0
    protected: int = 0


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """Prune in batches of ``size`` tasks, for ``reason``; a ``dry_run`` only counts them.

    ``on_batch`` is called after each batch with the result so far. Pruning ends as soon as
    ``may_go_on()`` is false.
    """

    size: int = 500
    reason: str = REASON
    dry_run: bool = False
    on_batch: Callable[[PruneResult], object] = lambda result: None
    may_go_on: Callable[[], bool] = lambda: True


def prune(
    task_models: Collection[type[SimpleTask]] | None = None, options: PruneOptions = PruneOptions()
) -> Iterator[PruneResult]:
    """Prune by the models' ``django_simpletask3_retention``; yield the result of each rule.

    Each batch is one transaction, tombstone included: a process that is killed leaves no batch half
    done, and any number of processes may prune at once. Tasks that are on legal hold or protected
    by a foreign key are kept. If nothing is old enough, nothing is written.
    """
    for root, rule in _rules(task_models):
        for using in databases_of(root):
            if not options.may_go_on():
                return
            result = PruneResult(root._meta.label, using, rule)
            _apply_rule(root, result, options)
            yield result


def _rules(
    task_models: Collection[type[SimpleTask]] | None,
) -> Iterator[tuple[type[SimpleTask], Rule]]:
    for root in table_models(task_models):
        for rule in parse_rules(root.django_simpletask3_retention):
            yield root, rule


def prune_due(may_go_on: Callable[[], bool] = lambda: True) -> int:
    """Prune all tables, as a worker does, and return the number of tasks.

    A table whose database fails is logged and does not stop the others.
    """
    with acting_as(REASON):
        work = partial(_prune_database, options=PruneOptions(may_go_on=may_go_on))
        return sum(in_each_database(work, task_databases()).values())


def _prune_database(using: str, options: PruneOptions) -> int:
    tables = tables_in(using) if any(_rules(None)) else []
    return sum(_prune_table(root, using, options) for root in tables)


def _prune_table(root: type[SimpleTask], using: str, options: PruneOptions) -> int:
    count = 0
    try:
        for _, rule in _rules([root]):
            if not options.may_go_on():
                break
            result = PruneResult(root._meta.label, using, rule)
            _apply_rule(root, result, options)
            count += result.pruned
            if result.pruned:
                _log_result(result)
    except Error as error:
        _logger.warning("retention_failed model=%s error=%s", root._meta.label, error)
    return count


def _log_result(result: PruneResult) -> None:
    _logger.info(
        "pruned model=%s database=%s rule=%s tasks=%s",
        result.model,
        result.database,
        result.rule,
        result.pruned,
    )


def _apply_rule(root: type[SimpleTask], result: PruneResult, options: PruneOptions) -> None:
    clock.calibrate(result.database)
    for pks in _batches(root, result, options.size):
        held_pks = pks_on_hold(root, result.database, pks)
        prunable_pks = [pk for pk in pks if pk not in held_pks]
        result.on_hold += len(held_pks)
        if options.dry_run:
            result.pruned += len(prunable_pks)
        elif prunable_pks:
            _delete_or_split(root, result, prunable_pks, options.reason)
        options.on_batch(result)
        if not options.may_go_on():
            return


def _batches(root: type[SimpleTask], result: PruneResult, size: int) -> Iterator[list[Any]]:
    """Yield the keys to which the rule applies, oldest first; each page starts at an index."""
    candidates, moment, key = _prunable(root, result)
    candidates = candidates.order_by(moment, key)
    after_page = Q()
    while page := list(candidates.filter(after_page).values_list(key, moment)[:size]):
        yield [pk for pk, _ in page]
        pk, last_time = page[-1]
        # By key, too: many tasks may have ended at one instant, and some are not deleted.
        after_page = Q(**{f"{moment}__gt": last_time}) | Q(**{moment: last_time, f"{key}__gt": pk})
        after_page &= Q(**{f"{moment}__gte": last_time})


def _prunable(root: type[SimpleTask], result: PruneResult) -> tuple[Any, str, str]:
    """The rows to which the rule applies, and the names of their time and key columns."""
    rule, using = result.rule, result.database
    cutoff = clock.now(using) - rule.age
    if rule.status is None:
        rows = rows_of(root, using).filter(pk=OuterRef("task_id"))
        deletions = (
            events_of(root, using).order_by().filter(kind=EventKind.DELETE, event_time__lt=cutoff)
        )
        return deletions.filter(~Exists(rows)), "event_time", "task_id"
    tasks: Any = rows_of(root, using).filter(status=rule.status, done_time__lt=cutoff)
    if rule.target is PruneTarget.PAYLOAD:
        tasks = tasks.filter(_has_payload(root, using))
    return tasks, "done_time", "pk"


def _has_payload(root: type[SimpleTask], using: str) -> Q:
    events = events_of(root, using).order_by().filter(task_id=OuterRef("pk"))
    # The unique key, too, is made of columns that may be guessed.
    kinds = {*_KINDS_WITH_PAYLOAD, *([EventKind.ENQUEUE] if has_unique_key(root) else [])}
    is_in_events = Exists(events.filter(kind__in=kinds))
    is_erased = Exists(events.filter(kind=EventKind.ERASE))
    is_in_row = Q(result_data__isnull=False) | Q(error_data__isnull=False)
    return is_in_row | Q(is_in_events & ~is_erased)


def _delete_or_split(
    root: type[SimpleTask], result: PruneResult, pks: Sequence[Any], reason: str
) -> None:
    """Prune a batch in one transaction; one by one if one of its tasks may not be deleted."""
    try:
        _delete_batch(root, result, pks, reason)
    except (ProtectedError, RestrictedError, TaskHeld):
        if len(pks) == 1:
            result.protected += 1
            return
        for pk in pks:
            _delete_or_split(root, result, [pk], reason)


def _delete_batch(
    root: type[SimpleTask], result: PruneResult, pks: Sequence[Any], reason: str
) -> None:
    using, rule = result.database, result.rule
    with transaction.atomic(using=using):
        if rule.target is PruneTarget.PAYLOAD:
            writer.lock(root, using, pks)
            tasks = [task for task in load_tasks(root, using, pks) if task.status == rule.status]
            result.pruned += erase(tasks, reason, str(rule)) if tasks else 0
            return
        with transaction.atomic(using=using):
            count, events = _delete_rows_and_streams(root, result, pks, reason)
    result.pruned += count
    result.events += events


def _delete_rows_and_streams(
    root: type[SimpleTask], result: PruneResult, pks: Sequence[Any], reason: str
) -> tuple[int, int]:
    """Delete tasks with their streams, under a tombstone; the numbers of tasks and of events."""
    using, rule = result.database, result.rule
    writer.lock(root, using, pks)
    digests = _still_prunable(root, result, pks)
    if not digests:
        return 0, 0
    streams = events_of(root, using).order_by().filter(task__in=digests)
    with tombstones.open_tombstone(
        using, root._meta.label, rule.target, reason, str(rule)
    ) as tombstone_row:
        tombstone_row.first_time, tombstone_row.last_time = _time_span(streams)
        with tombstones.deleting_with_streams(root._meta.db_table, digests):
            _delete(load_tasks(root, using, digests), using)
        events = streams._raw_delete(using)
        tombstone_row.summarize(digests, events=events)
    return len(digests), events


def _delete(tasks: Sequence[SimpleTask], using: str) -> None:
    """Delete as a queryset does, with cascades. Raises ProtectedError or RestrictedError."""
    by_model: dict[type[SimpleTask], list[SimpleTask]] = {}
    for task in tasks:
        by_model.setdefault(type(task), []).append(task)
    for batch in by_model.values():
        collector = Collector(using=using)
        collector.collect(batch)
        collector.delete()


def _time_span(streams: Any) -> tuple[Any, Any]:
    span = streams.aggregate(first=models.Min("event_time"), last=models.Max("event_time"))
    return span["first"], span["last"]


def _still_prunable(
    root: type[SimpleTask], result: PruneResult, pks: Sequence[Any]
) -> dict[Any, str]:
    """The last digest of each task that has not been changed, held or restored meanwhile."""
    using, rule = result.database, result.rule
    on_hold = pks_on_hold(root, using, pks)
    if rule.status is None:
        digests = _digests_of_deleted(root, using, pks)
    else:
        rows = rows_of(root, using).filter(pk__in=pks, status=rule.status)
        rows = rows.filter(done_time__lt=clock.now(using) - rule.age)
        digests = dict(rows.values_list("pk", "digest"))
    return {pk: digest for pk, digest in digests.items() if pk not in on_hold}


def _digests_of_deleted(root: type[SimpleTask], using: str, pks: Sequence[Any]) -> dict[Any, str]:
    events = events_of(root, using).filter(task__in=pks).values_list("task_id", "kind", "digest")
    last_events = {pk: (kind, digest) for pk, kind, digest in events}
    existing = set(rows_of(root, using).filter(pk__in=pks).values_list("pk", flat=True))
    gone = {pk: event for pk, event in last_events.items() if pk not in existing}
    return {pk: digest for pk, (kind, digest) in gone.items() if kind == EventKind.DELETE}
