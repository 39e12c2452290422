"""What the newest audit has found, of the models that the user may view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.apps import apps
from django.contrib.admin import AdminSite
from django.db import router
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ...ledger.stream_check import DiscrepancyKind
from ...ledger.task_row import all_rows
from ...models.audit_run import AuditRun
from ...models.task import SimpleTask
from ..html.values import escape_invisible, escape_invisible_in
from ..viewer import Viewer

#: Findings that the page names.
MAX_SHOWN = 20

PROBLEM_WORDS = {
    DiscrepancyKind.GAP: _("events are missing, or were renumbered"),
    DiscrepancyKind.DIGEST: _("an event was changed"),
    DiscrepancyKind.ARROW: _("no correct program writes such events"),
    DiscrepancyKind.TWICE: _("an attempt ended twice"),
    DiscrepancyKind.ERASED: _("something was erased without an event"),
    DiscrepancyKind.TAIL: _("the last events are missing"),
    DiscrepancyKind.ROW: _("the row does not say what its events say"),
    DiscrepancyKind.RESULT: _("the result is not the one that was recorded"),
    DiscrepancyKind.STREAM: _("a row without events"),
    DiscrepancyKind.ORPHAN: _("the row was deleted without an event"),
    DiscrepancyKind.LINE: _("it waits for a limit that does not know it"),
    DiscrepancyKind.PLACE: _("it runs without a place of its limit"),
    DiscrepancyKind.WAIT: _("it waits for tasks that will not release it"),
}


def audit_result(site: AdminSite, request: HttpRequest) -> dict[str, Any]:
    """The newest audit that has ended, as JSON; without models of which rows are hidden."""
    rows = all_rows(AuditRun, router.db_for_read(AuditRun)).filter(end_time__isnull=False)
    run = rows.order_by("-pk").first()
    if run is None:
        return {"begin_time": "", "tables": [], "found": []}
    viewer = Viewer(site, request)
    times = {name: getattr(run, name) for name in ("begin_time", "end_time", "since")}
    return {
        **{name: time.isoformat() if time else "" for name, time in times.items()},
        "actor": run.actor,
        "host": run.host,
        "tables": _visible(viewer, run.tables),
        "found": _visible(viewer, run.found),
    }


def finding_rows(viewer: Viewer, run: AuditRun) -> list[dict[str, Any]]:
    """The first discrepancies that ``run`` has found, with links to their tasks."""
    return [_finding_row(viewer, found) for found in _visible(viewer, run.found)[:MAX_SHOWN]]


def _finding_row(viewer: Viewer, found: Mapping[str, Any]) -> dict[str, Any]:
    model = apps.get_model(found["model"])
    return {
        "task": _link(viewer, model, found),
        "sequence": found["sequence"] or "",
        "problem": _words(found["problem"]),
        "detail": escape_invisible(str(found["detail"])),
        "is_repaired": found["repaired"],
    }


def _link(viewer: Viewer, model: Any, found: Mapping[str, Any]) -> SafeString | str:
    return viewer.link(model, found["database"], found["task"])


def _words(problem: str) -> object:
    is_known = problem in set(DiscrepancyKind)
    return PROBLEM_WORDS[DiscrepancyKind(problem)] if is_known else problem


def _visible(viewer: Viewer, records: Any) -> list[Any]:
    """Those of the records whose models the user may view, with all of their rows."""
    labels = {record["model"] for record in records or ()}
    visible = {label for label in labels if _may_view(viewer, label)}
    return [escape_invisible_in(r) for r in records or () if r["model"] in visible]


def _may_view(viewer: Viewer, label: str) -> bool:
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        return False
    return issubclass(model, SimpleTask) and viewer.may_view_every_row(model)
