"""What an action would do to the selected tasks, and why it leaves some of them alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ...batches import batches
from ...db import clock
from ...db.loading import load_tasks
from ...ledger.task_row import write_database
from ...models.queryset import rows_of
from ..html.pills import STATE_WORDS, pill, state_of, state_of_task
from ..html.values import format_count
from ..task_list.activity import describe_in_line
from ..task_list.last_events import read_last_events
from ..viewer import Viewer, may_view_row, shows_outcome
from .confirmation import MAX_NAMED, Confirmation, Row
from .definitions import TaskAction
from .outcomes import outcome_in_status
from .selection import Selection
from .wording import FORBIDDEN

#: Tasks whose permission is checked one by one.
MAX_CHECKED = 1000


def preview(
    modeladmin: Any,
    request: HttpRequest,
    selection: Selection,
    task_action: TaskAction,
    is_allowed: Callable[[Any], bool],
) -> Confirmation:
    """What ``task_action`` would do to ``selection``; ``is_allowed`` checks each task.

    After the first MAX_CHECKED tasks only the statuses are counted.
    """
    found = _Preview(modeladmin, request, selection, task_action, is_allowed)
    found.count_checked()
    found.count_by_status()
    return found.confirmation()


class _Preview:
    def __init__(
        self,
        modeladmin: Any,
        request: HttpRequest,
        selection: Selection,
        task_action: TaskAction,
        is_allowed: Callable[[Any], bool],
    ) -> None:
        self._selection, self._action = selection, task_action
        self._is_allowed = is_allowed
        self._may_view = partial(may_view_row, modeladmin, request)
        self._shows_outcome = partial(shows_outcome, modeladmin, request)
        self._viewer = Viewer(modeladmin.admin_site, request)
        self._result = Confirmation(task_action.wording)
        self._affected: list[Any] = []
        self._left_alone: list[tuple[Any, Any]] = []
        self._states: Counter[Any] = Counter()
        self._forbidden = 0

    def count_checked(self) -> None:
        """Count the first tasks, and remember the first of each group."""
        for tasks, _gone in self._selection.batches(MAX_CHECKED):
            allowed = [task for task in tasks if self._is_allowed(task)]
            allowed_pks = {task.pk for task in allowed}
            applicable_pks = {task.pk for task in self._action.applicable(allowed)}
            for task in tasks:
                if task.pk in applicable_pks:
                    self._affect(task)
                else:
                    self._leave_alone(task, task.pk in allowed_pks)

    def count_by_status(self) -> None:
        """Count the other tasks, whose permissions are not checked."""
        self._result.is_at_most = len(self._selection.pks) > MAX_CHECKED
        first_pks: list[Any] = []
        for pks in batches(self._selection.pks[MAX_CHECKED:], MAX_CHECKED):
            rows = rows_of(self._selection.root, self._selection.using).filter(pk__in=pks)
            for pk, status in rows.values_list("pk", "status"):
                if status in self._action.applies_to:
                    self._result.affected.count += 1
                    first_pks += [pk] if len(first_pks) < MAX_NAMED else []
                else:
                    self._result.left_alone.count += 1
                    self._states[state_of(status)] += 1
        missing_pks = first_pks[: MAX_NAMED - len(self._affected)]
        if missing_pks:
            tasks = load_tasks(self._selection.root, self._selection.using, missing_pks)
            self._affected += [t for t in tasks if self._is_allowed(t) and self._may_view(t)]

    def confirmation(self) -> Confirmation:
        """The result, with a row for each of the first tasks."""
        result = self._result
        details = self._details()
        becomes = self._action.becomes
        result.affected.rows = [
            Row(
                self._label(task),
                pill(state_of_task(task), task.status),
                details[task.pk],
                becomes(task) if becomes else "",
            )
            for task in self._affected
        ]
        result.left_alone.rows = [
            Row(self._label(task), pill(state_of_task(task), task.status), why)
            for task, why in self._left_alone
        ]
        result.states = self._state_counts()
        result.is_forbidden = 0 < self._forbidden == result.total
        return result

    def _affect(self, task: Any) -> None:
        self._result.affected.count += 1
        if len(self._affected) < MAX_NAMED and self._may_view(task):
            self._affected.append(task)

    def _leave_alone(self, task: Any, is_allowed: bool) -> None:
        self._result.left_alone.count += 1
        may_view = self._may_view(task)
        if not is_allowed:
            self._forbidden += 1
        elif may_view:
            self._states[state_of(task.status)] += 1
        if len(self._left_alone) < MAX_NAMED and may_view:
            outcome = outcome_in_status(task.status)
            why = self._action.wording.why.get(outcome, "") if is_allowed else FORBIDDEN
            self._left_alone.append((task, why))

    def _label(self, task: Any) -> SafeString | str:
        return task_link(self._viewer, task)

    def _details(self) -> dict[Any, str]:
        """What is going on with the first tasks, in the words of the list."""
        events, now = read_last_events(self._affected), clock.now(self._selection.using)
        for task in self._affected:
            if not self._shows_outcome(task):
                events[task.pk].hide_outcome()
        return {task.pk: describe_in_line(task, events[task.pk], now) for task in self._affected}

    def _state_counts(self) -> list[str]:
        counts = [
            f"{format_count(self._states[state])} {word}"
            for state, word in STATE_WORDS.items()
            if self._states[state]
        ]
        if self._forbidden:
            text = _("%(count)s to which you may not do this")
            counts.append(text % {"count": format_count(self._forbidden)})
        return counts


def task_link(viewer: Viewer, task: Any) -> SafeString | str:
    """The name of a task, with a link to its page if the user may view it."""
    return viewer.link(type(task), write_database(task), task.pk, str(task))
