"""Delivering events to those who must hear of them: at least once, in the order of each task."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import Error, connections, router
from django.db.models import Exists, F, OuterRef

from .conf.backoff import exponential_delay
from .conf.options import options
from .context import following_event
from .db import clock
from .ledger.event import events_of
from .ledger.outbox import Delivery, all_deliveries
from .ledger.subscribers import Subscriber, registered_subscribers, subscribe
from .ledger.task_row import task_reference
from .models.loading import load_tasks
from .models.registry import databases_of, table_models
from .models.task import SimpleTask

__all__ = [
    "Delivery",
    "deliver",
    "release_dead_local_workers",
    "release_dead_workers",
    "retry",
    "subscribe",
]

_logger = logging.getLogger(__name__)

_MAX_DELAY = 3600.0
_ERROR_LIMIT = 4000


class _Undeliverable(Exception):
    """The event cannot be delivered, however often it is tried."""


def deliver(
    limit: int = 100, worker: str = "", may_go_on: Callable[[], bool] = lambda: True
) -> int:
    """Deliver what is due, at most ``limit`` events per database; how many handlers were called.

    Any number of processes may do so at once: each delivery is claimed for the length of a lease
    (``DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT``), and free again when that ends. A handler that
    takes longer is called a second time meanwhile. ``may_go_on`` is asked before each call. A
    database that fails is logged and stops no other.
    """
    return _sum_over_databases(lambda using: _deliver_from(using, limit, worker, may_go_on))


def retry(deliveries: Iterable[Delivery]) -> int:
    """Make deliveries due at once, dead ones too, with all attempts before them; how many.

    One that somebody is delivering just now is left alone.
    """
    count = 0
    for delivery in deliveries:
        using = delivery._state.db or "default"
        claimable = all_deliveries(using).filter(
            pk=delivery.pk, due_time=delivery.due_time, worker=""
        )
        count += claimable.update(due_time=clock.now(using), attempts=0, worker="")
    return count


def release_dead_workers(workers: Iterable[str]) -> int:
    """Make due at once what processes had claimed that are known to be dead; how many."""
    names = list(workers)
    return _sum_over_databases(lambda using: _release_claims(using, names)) if names else 0


def release_dead_local_workers(is_known_dead: Callable[[str], bool]) -> int:
    """As ``abandoned``, of processes of this machine that are gone."""
    return _sum_over_databases(
        lambda using: _release_claims(using, filter(is_known_dead, _claiming_workers(using)))
    )


def _databases() -> list[str]:
    """The databases that may have something for the subscribers of this process."""
    if not registered_subscribers():
        return []
    aliases = {using for root in table_models() for using in databases_of(root)}
    return sorted(using for using in aliases if router.allow_migrate_model(using, Delivery))


def _sum_over_databases(operation: Callable[[str], int]) -> int:
    """The sum over all databases; one that fails is logged."""
    total = 0
    for using in _databases():
        try:
            total += operation(using)
        except Error as error:
            _logger.warning("deliveries_failed database=%s error=%s", using, error)
            if not connections[using].in_atomic_block:
                connections[using].close()
    return total


def _release_claims(using: str, workers: Iterable[str]) -> int:
    claimed = all_deliveries(using).filter(worker__in=list(workers))
    return int(claimed.update(due_time=clock.now(using), worker=""))


def _claiming_workers(using: str) -> list[str]:
    claimed = all_deliveries(using).filter(due_time__gt=clock.now(using)).exclude(worker="")
    return list(claimed.values_list("worker", flat=True).distinct())


def _deliver_from(using: str, limit: int, worker: str, may_go_on: Callable[[], bool]) -> int:
    clock.calibrate(using)
    calls = 0
    for delivery in _due_deliveries(using, limit):
        if not may_go_on():
            break
        if (until := _claim(delivery, using, worker)) is not None:
            _settle(delivery, using, until)
            calls += 1
    return calls


def _due_deliveries(using: str, limit: int) -> list[Delivery]:
    """What is due and the first of its line: nothing of its task waits before it, dead or not."""
    earlier = all_deliveries(using).filter(
        subscription=OuterRef("subscription"),
        model=OuterRef("model"),
        task_key=OuterRef("task_key"),
        sequence__lt=OuterRef("sequence"),
    )
    due = all_deliveries(using).filter(
        due_time__lte=clock.now(using), subscription__in=list(registered_subscribers())
    )
    return list(due.filter(~Exists(earlier)).order_by("due_time")[:limit])


def _claim(delivery: Delivery, using: str, worker: str) -> datetime | None:
    """Claim it for a lease: until when, or None if somebody else was first."""
    until = clock.after(using, options.simq_running_timeout)
    unclaimed = all_deliveries(using).filter(pk=delivery.pk, due_time=delivery.due_time)
    claimed = unclaimed.update(due_time=until, worker=worker, attempts=F("attempts") + 1)
    return until if claimed else None


def _settle(delivery: Delivery, using: str, until: datetime) -> None:
    """Call the handler; then the delivery is gone, due again later, or dead."""
    subscriber = registered_subscribers()[delivery.subscription]
    claim = all_deliveries(using).filter(pk=delivery.pk, due_time=until)
    attempts = delivery.attempts + 1
    began = time.monotonic()
    try:
        _call(subscriber, delivery, using)
    except BaseException as error:  # sys.exit() in a handler does not end the server
        is_over = isinstance(error, _Undeliverable) or attempts >= subscriber.max_attempts
        delay = exponential_delay(attempts, cap=_MAX_DELAY)
        due = None if is_over else clock.after(using, delay)
        claim.update(due_time=due, worker="", last_error=_error_text(error))
        _logger.warning(
            "delivery_failed subscription=%s task=%s sequence=%s attempt=%s dead=%s error=%s",
            delivery.subscription,
            f"{delivery.model}:{delivery.task_key}",
            delivery.sequence,
            attempts,
            is_over,
            error,
        )
    else:
        claim.delete()
        _logger.debug(
            "delivered subscription=%s task=%s sequence=%s seconds=%.3f",
            delivery.subscription,
            f"{delivery.model}:{delivery.task_key}",
            delivery.sequence,
            time.monotonic() - began,
        )


def _call(subscriber: Subscriber, delivery: Delivery, using: str) -> None:
    root, pk = _root(delivery.model), delivery.task_key
    try:
        event = events_of(root, using).filter(task=pk, sequence=delivery.sequence).first()
    except (ValueError, ValidationError):
        event = None
    if event is None:
        raise _Undeliverable(
            "The event is not there any more: it was pruned, or its key has another form."
        )
    task = next(iter(load_tasks(root, using, [event.task_id])), None)
    instance = task or _placeholder_task(root, using)
    name = task_reference(instance, event.task_id)
    with following_event(name, f"subscription {subscriber.name}", f"{name} #{event.sequence}"):
        subscriber.handler(task, event)


def _placeholder_task(root: type[SimpleTask], using: str) -> SimpleTask:
    task = root()
    task._state.db = using
    return task


def _root(label: str) -> type[SimpleTask]:
    try:
        model: Any = apps.get_model(label)
    except (LookupError, ValueError):
        raise _Undeliverable(f"There is no model {label} any more.") from None
    return model  # type: ignore[no-any-return]


def _error_text(error: BaseException) -> str:
    lines = traceback.format_exception(error)
    return "".join(lines)[-_ERROR_LIMIT:].replace("\x00", "")
