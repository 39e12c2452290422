"""The rows of the page of recoveries, in words."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.apps import apps
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ...monitoring.recovery_report import Recovery
from ...monitoring.scope import QueryScope
from ...states import EventKind
from ..html.icons import kind_icon
from ..html.pills import pill
from ..html.reasons import reason_words
from ..html.times import moment
from ..html.words import worker_label
from ..task_details.named_tasks import Present, TaskKey, present_states, task_link
from ..viewer import Viewer

#: What happened, by the kind of the event, with its class of colour.
HAPPENED = {
    EventKind.RECOVER: ("st3-lost", gettext_lazy("ran again")),
    EventKind.DROP: ("st3-failed", gettext_lazy("given up")),
    EventKind.RELEASE: ("st3-waiting", gettext_lazy("handed back")),
    EventKind.REJECT: ("st3-refused", gettext_lazy("result refused")),
}
#: Why, by the reason of the event, where the worker is the subject.
_WORKER_REASONS = {
    "lease_expired": gettext_lazy("%(worker)s no longer renewed its lease"),
    "worker_died": gettext_lazy("%(worker)s ended"),
    "node_restarted": gettext_lazy("%(worker)s no longer exists"),
    "interpreter_held": gettext_lazy("a task held the interpreter of %(worker)s, which was ended"),
    "time_limit": gettext_lazy("a task on %(worker)s ignored its time limit; it was replaced"),
    "worker_stopping": gettext_lazy("%(worker)s was stopping"),
}


def recovery_rows(
    viewer: Viewer, scope: QueryScope, recoveries: Iterable[Recovery]
) -> list[dict[str, Any]]:
    """The rows of ``recoveries``; one statement per database says what became of the tasks."""
    listed = [(recovery, _key(recovery)) for recovery in recoveries]
    states = present_states(scope, {key for _recovery, key in listed})
    now = timezone.now()
    return [_row(viewer, recovery, key, states.get(key), now) for recovery, key in listed]


def _key(recovery: Recovery) -> TaskKey:
    model: Any = apps.get_model(recovery.model)
    return TaskKey(model, recovery.database, recovery.task)


def _row(
    viewer: Viewer, recovery: Recovery, key: TaskKey, present: Present | None, now: datetime
) -> dict[str, Any]:
    return {
        "time": moment(recovery.time, now),
        "kind": _happened(EventKind(recovery.kind)),
        "task": task_link(viewer, key),
        "why": why_words(recovery),
        "became": _became(present, now),
    }


def _happened(kind: EventKind) -> SafeString:
    css, words = HAPPENED[kind]
    return format_html(
        '<span class="{}"><span class="st3-colour">{} {}</span></span>', css, kind_icon(kind), words
    )


def why_words(recovery: Recovery) -> str:
    """``app-3 › 2051 ended``; a reason that is not the package's stands in quotation marks."""
    words = {"worker": worker_label(recovery.worker), "attempt": recovery.attempt}
    if recovery.kind == EventKind.REJECT and recovery.worker:
        came = _("%(worker)s came back with attempt %(attempt)s, which no longer counted") % words
        return f"{came}: {reason_words(recovery.reason)}" if recovery.reason else came
    known = _WORKER_REASONS.get(recovery.reason) if recovery.worker else None
    parts = [str(known % words)] if known else [reason_words(recovery.reason)]
    if not known and recovery.worker:
        parts.append(worker_label(recovery.worker))
    if recovery.kind == EventKind.DROP:
        parts.append(_("once too often"))
    return ", ".join(filter(None, parts))


def _became(present: Present | None, now: datetime) -> SafeString | str:
    if present is None:
        return ""
    time = moment(present.done_time, now) if present.done_time else ""
    return format_html("{} {}", pill(present.state), time)
