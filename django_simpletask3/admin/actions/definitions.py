"""The actions on selected tasks: permission, applicable tasks, operation and messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import transaction
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ...db import clock
from ...dependencies.methods import DEPENDENTS
from ...dependencies.overview import count_reset_dependents, failed_groups
from ...dependencies.tables import may_be_prerequisite
from ...dispatch import push
from ...exceptions import StaleTask
from ...ledger.task_row import TaskRow, table_model, write_database
from ...models import permissions
from ...models.queryset import rows_of
from ...models.task import SimpleTask
from ...states import ANY, UNFINISHED, EventKind, Status
from ...transitions.expiry import limit_check_at
from ...transitions.forced_cancel import cancel_by_force
from ...transitions.legal_holds import pks_on_hold
from ...transitions.transition import Transition, next_check_time
from ...transitions.writer import apply_all, lock
from ..html.icons import icon
from ..html.pills import State, pill, state_of
from . import outcomes, wording
from .outcomes import Outcome, Sentences, outcome_of
from .run_inline import can_run_inline, run_tasks_inline
from .wording import Wording


@dataclass(frozen=True, slots=True)
class Option:
    """A tick box of the confirmation page: if it is ticked, ``run`` is called with its name."""

    name: str
    label: Any
    help_text: Any
    #: Whether the page of a model has the box.
    is_shown: Callable[[type[SimpleTask]], bool] = lambda _model: True


@dataclass(frozen=True, slots=True)
class TaskAction:
    """An action; ``run`` applies it to a batch of tasks for a reason and returns outcomes.

    First those of the tasks, in their order; then those of others that it has changed, too.
    """

    name: str
    permission: str
    #: In the list's menu.
    description: Any
    wording: Wording
    applies_to: frozenset[Status]
    run: Callable[..., list[Outcome]]
    sentences: Sentences
    #: The reason in the events if the user gives none; stored, so not translated.
    reason: str
    #: Whether the streams are downloaded afterwards.
    is_download: bool = False
    #: Selects the applicable tasks where the status alone does not decide.
    filter: Callable[[list[SimpleTask]], list[SimpleTask]] | None = None
    options: tuple[Option, ...] = ()
    #: What a task is afterwards; None if the action does not change it.
    becomes: Callable[[SimpleTask], SafeString] | None = None

    def applicable(self, tasks: list[SimpleTask]) -> list[SimpleTask]:
        """The tasks to which the action applies in their current state."""
        candidates = [task for task in tasks if task.status in self.applies_to]
        return self.filter(candidates) if self.filter is not None else candidates

    def options_of(self, model: type[SimpleTask]) -> list[Option]:
        """The tick boxes for tasks of ``model``."""
        return [option for option in self.options if option.is_shown(model)]


def _execute(tasks: list[SimpleTask], reason: str) -> list[Outcome]:
    if not tasks:
        return []
    expected = {"status": Status.PENDING}
    transitions = [Transition(t, EventKind.NOTE, reason=reason, expected=expected) for t in tasks]
    using = write_database(tasks[0])
    with transaction.atomic(using=using):
        due_tasks = [t.task for t in _apply_together(transitions) if t.event is not None]
        _make_due(due_tasks, type(tasks[0]), using)
        push_due = partial(push.push_now, due_tasks)
        transaction.on_commit(push_due, using=using, robust=True)
    return [outcome_of(transition) for transition in transitions]


def _make_due(tasks: Sequence[TaskRow], model: type[SimpleTask], using: str) -> None:
    rows = rows_of(model, using).pending().filter(pk__in=[task.pk for task in tasks])
    check_at = limit_check_at(model, next_check_time(None, clock.now(using)))
    rows.update_managed(run_after=None, check_at=check_at)
    for task in tasks:
        task.run_after = None


def _reset(
    tasks: list[SimpleTask], reason: str, *, restart: bool = False, dependents: bool = False
) -> list[Outcome]:
    data = {"restart": restart} | ({DEPENDENTS: True} if dependents else {})
    groups = failed_groups(tasks) if dependents else {}
    transitions = [_reset_transition(task, reason, data=data) for task in tasks]
    done = [t.task for t in _apply_together(transitions) if t.event is not None]
    again, left = count_reset_dependents(done, groups)
    of_dependents = [Outcome.WAITS_AGAIN] * again + [Outcome.HAS_RUN] * left
    return [*map(outcome_of, transitions), *of_dependents]


def _retry(tasks: list[SimpleTask], reason: str) -> list[Outcome]:
    expected = {"status": Status.FAILED}
    return _apply([_reset_transition(task, reason, expected=expected) for task in tasks])


def _reset_transition(task: SimpleTask, reason: str, **details: Any) -> Transition:
    return Transition(task, EventKind.RESET, reason=reason, values={"run_after": None}, **details)


def _apply_kind(kind: EventKind, tasks: list[SimpleTask], reason: str) -> list[Outcome]:
    return _apply([Transition(task, kind, reason=reason) for task in tasks])


def _force_cancel(tasks: list[SimpleTask], reason: str) -> list[Outcome]:
    return list(map(outcome_of, cancel_by_force(tasks, reason, _apply_together)))


def _tasks_on_hold(tasks: list[SimpleTask]) -> list[SimpleTask]:
    if not tasks:
        return []
    root, using = table_model(type(tasks[0])), write_database(tasks[0])
    held_pks = pks_on_hold(root, using, [task.pk for task in tasks])
    return [task for task in tasks if task.pk in held_pks]


def _lift(tasks: list[SimpleTask], reason: str) -> list[Outcome]:
    if not tasks:
        return []
    root, using = table_model(type(tasks[0])), write_database(tasks[0])
    with transaction.atomic(using=using):
        lock(root, using, [task.pk for task in tasks])
        held_tasks = _tasks_on_hold(tasks)
        lift_outcomes = _apply_kind(EventKind.LIFT, held_tasks, reason)
    outcome_by_pk = {task.pk: o for task, o in zip(held_tasks, lift_outcomes, strict=True)}
    return [outcome_by_pk.get(task.pk, Outcome.NOT_HELD) for task in tasks]


def _apply(transitions: list[Transition]) -> list[Outcome]:
    return list(map(outcome_of, _apply_together(transitions)))


def _apply_together(transitions: list[Transition]) -> list[Transition]:
    """Apply the transitions in one transaction; one by one if a task changed concurrently."""
    try:
        apply_all(transitions)
    except StaleTask:
        for transition in transitions:
            try:
                apply_all([transition])
            except StaleTask as error:
                transition.event, transition.refusal = None, error
    return transitions


def _becomes(state: State, _task: SimpleTask) -> SafeString:
    return pill(state)


_waits = partial(_becomes, State.WAITING)


def _waits_until(task: SimpleTask) -> SafeString:
    return pill(state_of(Status.PENDING, task.run_after, clock.now(write_database(task))))


def _is_held(_task: SimpleTask) -> SafeString:
    return format_html("{} {}", icon("hold"), _("on hold"))


def _is_free(_task: SimpleTask) -> SafeString:
    return format_html("{}", _("not on hold"))


EXECUTE = TaskAction(
    name="django_simpletask3_execute_for_selected",
    permission=permissions.EXECUTE,
    description=_("Run now (next in line)"),
    wording=wording.EXECUTE,
    applies_to=frozenset({Status.PENDING}),
    run=_execute,
    sentences=outcomes.EXECUTED,
    reason="execute now",
    becomes=_waits,
)
EXECUTE_HERE = TaskAction(
    name="django_simpletask3_execute_here_for_selected",
    permission=permissions.EXECUTE_HERE,
    description=_("Run here (in the web process)"),
    wording=wording.EXECUTE_HERE,
    applies_to=frozenset({Status.PENDING}),
    run=run_tasks_inline,
    sentences=outcomes.EXECUTED_HERE,
    reason="executed in the admin",
    filter=can_run_inline,
    becomes=partial(_becomes, State.RUNNING),
)
RESET = TaskAction(
    name="django_simpletask3_reset_for_selected",
    permission=permissions.RESET,
    description=_("Reset (again, whatever it does)"),
    wording=wording.RESET,
    applies_to=ANY,
    run=_reset,
    sentences=outcomes.RESET,
    reason="reset in the admin",
    options=(
        Option(
            name="restart",
            label=_("Repeat the steps that are done"),
            help_text=_("Checkpoints are forgotten: each task begins again from the beginning."),
        ),
        Option(
            name="dependents",
            label=_("And its dependents"),
            help_text=_("Tasks that were canceled because these had failed wait for them again."),
            is_shown=may_be_prerequisite,
        ),
    ),
    becomes=_waits,
)
RETRY = TaskAction(
    name="django_simpletask3_retry_for_selected",
    permission=permissions.RETRY,
    description=_("Retry (failed ones)"),
    wording=wording.RETRY,
    applies_to=frozenset({Status.FAILED}),
    run=_retry,
    sentences=outcomes.RETRIED,
    reason="retried in the admin",
    becomes=_waits,
)
CANCEL = TaskAction(
    name="django_simpletask3_cancel_for_selected",
    permission=permissions.CANCEL,
    description=_("Cancel"),
    wording=wording.CANCEL,
    applies_to=UNFINISHED,
    run=partial(_apply_kind, EventKind.CANCEL),
    sentences=outcomes.CANCELED,
    reason="canceled in the admin",
    becomes=partial(_becomes, State.CANCELED),
)
FORCE_CANCEL = TaskAction(
    name="django_simpletask3_force_cancel_for_selected",
    permission=permissions.FORCE_CANCEL,
    description=_("Cancel by force"),
    wording=wording.FORCE_CANCEL,
    applies_to=UNFINISHED | {Status.CANCELED},
    run=_force_cancel,
    sentences=outcomes.CANCELED,
    reason="canceled by force in the admin",
    becomes=partial(_becomes, State.CANCELED),
)
UNBLOCK = TaskAction(
    name="django_simpletask3_unblock_for_selected",
    permission=permissions.UNBLOCK,
    description=_("Unblock"),
    wording=wording.UNBLOCK,
    applies_to=frozenset({Status.BLOCKED}),
    run=partial(_apply_kind, EventKind.UNBLOCK),
    sentences=outcomes.UNBLOCKED,
    reason="unblocked in the admin",
    becomes=_waits_until,
)
HOLD = TaskAction(
    name="django_simpletask3_hold_for_selected",
    permission=permissions.HOLD,
    description=_("Put on hold"),
    wording=wording.HOLD,
    applies_to=ANY,
    run=partial(_apply_kind, EventKind.HOLD),
    sentences=outcomes.HELD,
    reason="held in the admin",
    becomes=_is_held,
)
LIFT = TaskAction(
    name="django_simpletask3_lift_for_selected",
    permission=permissions.HOLD,
    description=_("Lift the hold"),
    wording=wording.LIFT,
    applies_to=ANY,
    run=_lift,
    sentences=outcomes.LIFTED,
    reason="lifted in the admin",
    filter=_tasks_on_hold,
    becomes=_is_free,
)
EXPORT = TaskAction(
    name="django_simpletask3_export_for_selected",
    permission=permissions.EXPORT,
    description=_("Download the events"),
    wording=wording.EXPORT,
    applies_to=ANY,
    run=partial(_apply_kind, EventKind.NOTE),
    sentences=outcomes.EXPORTED,
    reason="exported in the admin",
    is_download=True,
)
ACTIONS = (EXECUTE, EXECUTE_HERE, RESET, RETRY, CANCEL, FORCE_CANCEL, UNBLOCK, HOLD, LIFT, EXPORT)
