"""The actions that the user may do to a task now, as buttons with their dialogs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.forms import BoundField
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ....states import EventKind, Status
from ...actions import definitions
from ...actions.actions import has_action_permission
from ...actions.confirmation import ReasonForm
from ...actions.definitions import TaskAction
from ..facts import TaskFacts
from .effects import WORDS, effect

#: Actions in front by status; further ones stand in the menu. The first may be the filled one.
_IN_FRONT = {
    Status.PENDING: (definitions.EXECUTE, definitions.CANCEL, definitions.EXECUTE_HERE),
    Status.BLOCKED: (definitions.UNBLOCK, definitions.CANCEL),
    Status.RUNNING: (definitions.CANCEL, definitions.RESET),
    Status.SUCCESS: (definitions.RESET,),
    Status.FAILED: (definitions.RETRY, definitions.RESET),
    Status.CANCELED: (definitions.RESET,),
}
_HOLDS = (definitions.HOLD, definitions.LIFT)
#: What most users want to do next.
_FILLED = (definitions.RETRY, definitions.UNBLOCK, definitions.EXECUTE)
_DANGEROUS = (definitions.CANCEL, definitions.FORCE_CANCEL)


@dataclass(frozen=True, slots=True)
class Button:
    """A button that asks in a dialog; without scripts it leads to the page of confirmation."""

    action: str
    label: str
    question: SafeString
    effect: str
    confirm: str
    dismiss: str
    is_first: bool
    is_danger: bool
    #: Nothing is asked: the file is downloaded.
    is_download: bool
    is_reason_required: bool
    #: The tick boxes.
    options: list[BoundField]


@dataclass(frozen=True, slots=True)
class Buttons:
    """The buttons in front, and those of the menu."""

    front: list[Button]
    more: list[Button]

    @property
    def with_dialog(self) -> list[Button]:
        return [button for button in (*self.front, *self.more) if not button.is_download]


def read_buttons(modeladmin: Any, request: HttpRequest, facts: TaskFacts, name: str) -> Buttons:
    """The buttons of the actions that state and permissions allow; ``name`` is the task's."""
    offered = modeladmin.get_actions(request)
    allowed = [
        action
        for action in definitions.ACTIONS
        if action.name in offered
        and _is_applicable(action, facts)
        and has_action_permission(modeladmin, request, action, facts.task)
    ]
    first = next((action for action in _FILLED if action in allowed), None)
    in_front = [*_IN_FRONT.get(facts.task.status, ()), *_HOLDS]
    front = [action for action in in_front if action in allowed]
    more = [action for action in allowed if action not in front]

    def build(action: TaskAction) -> Button:
        return _button(request, action, facts, name, is_first=action is first)

    return Buttons(list(map(build, front)), list(map(build, more)))


def _is_applicable(action: TaskAction, facts: TaskFacts) -> bool:
    """Whether there is something to do; ``applicable()`` would read the legal holds again."""
    if facts.task.status not in action.applies_to:
        return False
    if action in _HOLDS:
        return facts.is_held == (action is definitions.LIFT)
    if action is definitions.FORCE_CANCEL:
        return facts.task.status == Status.RUNNING or _may_still_run(facts)
    return True


def _may_still_run(facts: TaskFacts) -> bool:
    """Whether the function of a canceled task may not have stopped."""
    last = facts.attempts[-1] if facts.attempts else None
    return last is not None and last.ended_by == EventKind.CANCEL and last.run is not None


def _button(
    request: HttpRequest, action: TaskAction, facts: TaskFacts, name: str, *, is_first: bool
) -> Button:
    text = WORDS[action.name]
    form = ReasonForm(request, action.options_of(type(facts.task)))
    return Button(
        action.name,
        str(text.button),
        format_html(str(text.question) or "{}", name),
        effect(action, facts),
        str(text.confirm),
        _("Let it run") if facts.task.status == Status.RUNNING else _("Leave it as it is"),
        is_first,
        action in _DANGEROUS,
        action.is_download,
        form.fields["reason"].required,
        form.option_fields(),
    )
