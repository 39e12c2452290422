"""What may be done to selected tasks: execute now, reset, cancel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils.translation import gettext_lazy as _

from django_simpletask3 import bells, permissions
from django_simpletask3.catalog import as_saved
from django_simpletask3.context import task_context
from django_simpletask3.events import root_of
from django_simpletask3.exceptions import StaleTask
from django_simpletask3.models import SimpleTask
from django_simpletask3.moves import Move, trusted_until
from django_simpletask3.querysets import rows_of
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions import record_all

from . import outcomes
from .outcomes import Outcome

#: How many tasks are moved in one transaction.
BATCH = 100

#: What the events say; stored, so not translated.
EXECUTE_REASON = "execute now"
RESET_REASON = "reset in the admin"
CANCEL_REASON = "canceled in the admin"

Step = Callable[[list[Any]], list[Move]]


@admin.action(
    permissions=[permissions.EXECUTE],
    description=_("Execute selected %(verbose_name_plural)s now"),
)
def django_simpletask3_execute_for_selected(modeladmin: Any, request: Any, queryset: Any) -> None:
    """Let waiting tasks be the next to run, whatever they were to wait for.

    The bodies run in the workers. Tasks that are not waiting are left alone: one that is to run
    again has to be reset.
    """
    carried_out = _carry_out(request, queryset, permissions.EXECUTE, _execute)
    outcomes.report(modeladmin, request, carried_out, outcomes.EXECUTED)


@admin.action(
    permissions=[permissions.RESET], description=_("Reset selected %(verbose_name_plural)s")
)
def django_simpletask3_reset_for_selected(modeladmin: Any, request: Any, queryset: Any) -> None:
    """Let tasks run again, whatever they are doing; a running one is superseded."""
    carried_out = _carry_out(request, queryset, permissions.RESET, _reset)
    outcomes.report(modeladmin, request, carried_out, outcomes.RESET)


@admin.action(
    permissions=[permissions.RESET], description=_("Cancel selected %(verbose_name_plural)s")
)
def django_simpletask3_cancel_for_selected(modeladmin: Any, request: Any, queryset: Any) -> None:
    """Call off tasks that are not finished; a running body is told, its result refused."""
    carried_out = _carry_out(request, queryset, permissions.RESET, _cancel)
    outcomes.report(modeladmin, request, carried_out, outcomes.CANCELED)


def _carry_out(request: Any, queryset: Any, permission: str, step: Step) -> Counter[Outcome]:
    """Take ``step`` with the selected tasks in batches; how many had which outcome.

    Raises PermissionDenied, before anything is done, for a user without the permission.
    """
    if not permissions.may(request.user, permission, queryset.model):
        raise PermissionDenied
    counts: Counter[Outcome] = Counter()
    with task_context(actor=request.user):
        for tasks, missing in _batches(queryset):
            counts.update(map(outcomes.outcome_of, step(tasks)))
            counts[Outcome.GONE] += missing
    return counts


def _batches(queryset: Any) -> Iterator[tuple[list[Any], int]]:
    # Where Django itself would write the rows: the alias the admin chose, or the router's.
    using = queryset.select_for_update().db
    pks = list(queryset.using(using).values_list("pk", flat=True))
    for start in range(0, len(pks), BATCH):
        batch = pks[start : start + BATCH]
        # As they were saved: a proxy in the list of its root rings its own bell.
        tasks = as_saved(root_of(queryset.model), using, batch)
        yield tasks, len(batch) - len(tasks)


def _execute(tasks: list[Any]) -> list[Move]:
    if not tasks:
        return []
    still = {"status": Status.PENDING}
    moves = [Move(task, EventKind.NOTE, reason=EXECUTE_REASON, expect=still) for task in tasks]
    using = tasks[0]._state.db
    with transaction.atomic(using=using):
        chosen = [move.task for move in _recorded(moves) if move.event is not None]
        _let_run(chosen, type(tasks[0]), using)
        ring = partial(bells.ring, chosen, urgent=True)
        transaction.on_commit(ring, using=using, robust=True)
    return moves


def _let_run(tasks: list[Any], model: type[SimpleTask], using: str) -> None:
    waiting = rows_of(model, using).pending().filter(pk__in=[task.pk for task in tasks])
    waiting.bookkeep(run_after=None, lease_until=trusted_until(None, using))
    for task in tasks:
        task.run_after = None


def _reset(tasks: list[Any]) -> list[Move]:
    free = {"run_after": None}
    return _recorded(
        [Move(task, EventKind.RESET, reason=RESET_REASON, values=dict(free)) for task in tasks]
    )


def _cancel(tasks: list[Any]) -> list[Move]:
    return _recorded([Move(task, EventKind.CANCEL, reason=CANCEL_REASON) for task in tasks])


def _recorded(moves: list[Move]) -> list[Move]:
    """Make the moves in one transaction; one by one if somebody moved one of the tasks first."""
    try:
        record_all(moves)
    except StaleTask:
        for move in moves:
            _recorded_alone(move)
    return moves


def _recorded_alone(move: Move) -> None:
    try:
        record_all([move])
    except StaleTask as refusal:
        move.event, move.refused = None, refusal
