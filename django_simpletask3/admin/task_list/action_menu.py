"""The menu of the actions of a list, in groups by what they do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import BLANK_CHOICE_DASH
from django.utils.translation import gettext_lazy as _

#: Titles, and the words by which the names of actions differ.
_GROUPS = (
    (_("Start"), ("execute", "execute_here", "retry", "reset", "unblock")),
    (_("Stop"), ("cancel", "force_cancel")),
    (_("Keep"), ("hold", "lift", "export")),
)
_DASHES = dict(BLANK_CHOICE_DASH)[""]
_TEMPLATE = "django_simpletask3_{}_for_selected"


def group_choices(choices: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """``choices`` of actions, with those of this package in groups.

    The empty choice is the first, and says what to do instead of Django's dashes; others than those
    of this package come last.
    """
    descriptions = dict(choices)
    if descriptions.get("") == _DASHES:
        descriptions[""] = _("choose…")
    empty = [("", descriptions.pop(""))] if "" in descriptions else []
    groups = []
    for title, words in _GROUPS:
        names = [name for word in words if (name := _TEMPLATE.format(word)) in descriptions]
        if names:
            groups.append((title, [(name, descriptions.pop(name)) for name in names]))
    return [*empty, *groups, *descriptions.items()]
