"""How long a task model keeps its tasks, in words."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ...ledger.tombstone import PruneTarget
from ...models.explanation.durations import format_duration
from ...retention.rules import Rule
from ...states import FINAL
from ..html.pills import STATE_WORDS, state_of

_DAY, _YEAR = timedelta(days=1), timedelta(days=365)


def kept_words(rules: Iterable[Rule]) -> str:
    """``1 year``, ``succeeded 30 days, failed 1 year``, or ``for ever`` without a rule."""
    rules = list(rules)
    if not rules:
        return _("for ever")
    ages = {rule.status: rule.age for rule in rules if rule.target is PruneTarget.TASK}
    parts = []
    if ages.keys() == FINAL and len(set(ages.values())) == 1:
        parts.append(age_words(next(iter(ages.values()))))
        rules = [rule for rule in rules if rule.target is not PruneTarget.TASK]
    return ", ".join([*parts, *map(_rule_words, rules)])


def _rule_words(rule: Rule) -> str:
    words = {"age": age_words(rule.age), "state": _("deleted")}
    if rule.status is not None and (state := state_of(rule.status)) is not None:
        words["state"] = str(STATE_WORDS[state])
    if rule.target is PruneTarget.PAYLOAD:
        return _("results of %(state)s %(age)s") % words
    return _("%(state)s %(age)s") % words


def age_words(age: timedelta) -> str:
    """``age`` in years or days if it is a whole number of them, else as a duration."""
    if age % _YEAR == timedelta(0):
        years = age // _YEAR
        return ngettext("%(count)d year", "%(count)d years", years) % {"count": years}
    if age % _DAY == timedelta(0):
        days = age // _DAY
        return ngettext("%(count)d day", "%(count)d days", days) % {"count": days}
    return format_duration(age)
