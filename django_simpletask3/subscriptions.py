"""Deliver events to durable subscribers: at least once, in order for each task."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import cast

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, Error, connections, router
from django.db.models import Exists, F, OuterRef, QuerySet

from .conf.options import options
from .context import following_event
from .db import clock
from .db.loading import load_tasks
from .ledger.encoding import traceback_text
from .ledger.event import TaskEvent, events_of
from .ledger.outbox import Delivery, all_deliveries
from .ledger.subscribers import Subscriber, registered_subscribers, subscribe
from .ledger.task_row import task_reference
from .logs import get_logger
from .models.each_database import in_each_database
from .models.registry import tables_in, task_databases
from .models.task import SimpleTask
from .retries import Exponential

__all__ = [
    "Delivery",
    "deliver",
    "release_dead_local_workers",
    "release_dead_workers",
    "retry",
    "subscribe",
]

_logger = get_logger(__name__)

_BACKOFF = Exponential(maximum=3600.0)
_ERROR_LIMIT = 4000


class _Undeliverable(Exception):
    """No attempt can deliver the event."""


def deliver(
    limit: int = 100, worker: str = "", may_go_on: Callable[[], bool] = lambda: True
) -> int:
    """Deliver due events, at most ``limit`` per database; return the number of handler calls.

    Any number of processes may call it at once: it claims each delivery for
    ``DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT`` seconds. A handler that takes longer may be called
    again meanwhile. Delivery ends as soon as ``may_go_on()`` is false. A database that fails is
    logged and does not stop the others.
    """
    return _sum_over_databases(lambda using: _deliver_from(using, limit, worker, may_go_on))


def retry(deliveries: Iterable[Delivery]) -> int:
    """Make ``deliveries`` due now, dead ones included, and reset their attempts.

    Returns the number of deliveries. Those that a worker is delivering are skipped.
    """
    count = 0
    for delivery in deliveries:
        using = delivery._state.db or DEFAULT_DB_ALIAS
        claimable = all_deliveries(using).filter(
            pk=delivery.pk, due_time=delivery.due_time, worker=""
        )
        count += claimable.update(due_time=clock.now(using), attempts=0, worker="")
    return count


def release_dead_workers(workers: Iterable[str]) -> int:
    """Make due the deliveries of ``workers``, which are known to be dead; return their number."""
    names = list(workers)
    return _sum_over_databases(lambda using: _release_claims(using, names)) if names else 0


def release_dead_local_workers(is_known_dead: Callable[[str], bool]) -> int:
    """Make due the deliveries of dead processes of this machine; return their number."""
    return _sum_over_databases(
        lambda using: _release_claims(using, filter(is_known_dead, _claiming_workers(using)))
    )


def _sum_over_databases(operation: Callable[[str], int]) -> int:
    """Sum ``operation`` over the databases that may hold deliveries to our subscribers.

    A database that fails is logged and counts 0.
    """
    if not registered_subscribers():
        return 0
    aliases = [u for u in sorted(task_databases()) if router.allow_migrate_model(u, Delivery)]
    return sum(in_each_database(partial(_run_guarded, operation=operation), aliases).values())


def _run_guarded(using: str, operation: Callable[[str], int]) -> int:
    try:
        return operation(using) if tables_in(using) else 0
    except Error as error:
        _logger.warning("deliveries_failed database=%s error=%s", using, error)
        if not connections[using].in_atomic_block:
            connections[using].close()
        return 0


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
        lease_end = _claim(delivery, using, worker)
        if lease_end is not None:
            _deliver_claimed(delivery, using, lease_end)
            calls += 1
    return calls


def _due_deliveries(using: str, limit: int) -> list[Delivery]:
    """Due deliveries with no earlier delivery, dead or alive, of the same task and subscriber."""
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
    """Claim the delivery and return the lease end; None if another process claimed it first."""
    lease_end = clock.after(using, options.simq_running_timeout)
    unclaimed = all_deliveries(using).filter(pk=delivery.pk, due_time=delivery.due_time)
    claimed = unclaimed.update(due_time=lease_end, worker=worker, attempts=F("attempts") + 1)
    return lease_end if claimed else None


def _deliver_claimed(delivery: Delivery, using: str, lease_end: datetime) -> None:
    """Call the handler, then delete the delivery, postpone it, or mark it dead."""
    subscriber = registered_subscribers()[delivery.subscription]
    claim = all_deliveries(using).filter(pk=delivery.pk, due_time=lease_end)
    started = time.monotonic()
    try:
        _call_handler(subscriber, delivery, using)
    except BaseException as error:  # sys.exit() in a handler does not end the server
        _postpone_or_give_up(claim, delivery, subscriber, error)
    else:
        claim.delete()
        _logger.debug(
            "delivered subscription=%s task=%s sequence=%s seconds=%.3f",
            delivery.subscription,
            f"{delivery.model}:{delivery.task_key}",
            delivery.sequence,
            time.monotonic() - started,
        )


def _postpone_or_give_up(
    claim: QuerySet[Delivery], delivery: Delivery, subscriber: Subscriber, error: BaseException
) -> None:
    attempts = delivery.attempts + 1
    is_dead = isinstance(error, _Undeliverable) or attempts >= subscriber.max_attempts
    delay = _BACKOFF(attempts)
    due_time = None if is_dead else clock.after(claim.db, delay)
    claim.update(due_time=due_time, worker="", last_error=traceback_text(error, limit=_ERROR_LIMIT))
    _logger.log(
        logging.ERROR if is_dead else logging.WARNING,
        "delivery_failed subscription=%s task=%s sequence=%s attempt=%s dead=%s error=%s",
        delivery.subscription,
        f"{delivery.model}:{delivery.task_key}",
        delivery.sequence,
        attempts,
        is_dead,
        error,
        exc_info=error,
    )


def _call_handler(subscriber: Subscriber, delivery: Delivery, using: str) -> None:
    root = _model_of(delivery)
    event = _event_of(delivery, root, using)
    task = next(iter(load_tasks(root, using, [event.task_id])), None)
    instance = task or _unsaved_task(root, using)
    name = task_reference(instance, event.task_id)
    with following_event(name, f"subscription {subscriber.name}", f"{name} #{event.sequence}"):
        subscriber.handler(task, event)


def _model_of(delivery: Delivery) -> type[SimpleTask]:
    try:
        return cast("type[SimpleTask]", apps.get_model(delivery.model))
    except (LookupError, ValueError):
        raise _Undeliverable(f"The model {delivery.model} no longer exists.") from None


def _event_of(delivery: Delivery, root: type[SimpleTask], using: str) -> TaskEvent:
    stream = events_of(root, using)
    event: TaskEvent | None = None
    with suppress(ValueError, ValidationError):  # the key cannot be one of this model
        event = stream.filter(task=delivery.task_key, sequence=delivery.sequence).first()
    if event is None:
        raise _Undeliverable(
            "The event no longer exists: it was pruned, or the type of the model's key has changed."
        )
    return event


def _unsaved_task(root: type[SimpleTask], using: str) -> SimpleTask:
    task = root()
    task._state.db = using
    return task
