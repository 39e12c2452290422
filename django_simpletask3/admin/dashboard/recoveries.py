"""The page of recoveries: every recover, drop, release and reject, filtered and exported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, replace
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.apps import apps
from django.conf import settings
from django.contrib.admin import AdminSite
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext_lazy as _

from ...db.errors import MissingSchema
from ...ledger.fields import KIND, MAX_TEXT
from ...models.registry import models_by_database
from ...monitoring import problems, recovery_report
from ...monitoring.csv_export import lines
from ...monitoring.recovery_report import KINDS, Cursor, RecoveryFilter
from ...monitoring.scope import QueryScope
from ...states import EventKind
from ..html import badges, times
from ..html.values import escape_invisible
from ..viewer import Viewer

PAGE_SIZE = 100
#: Recoveries of one instant that can be paged through.
_MAX_SKIP = 5000
_DAY = timedelta(days=1)
_DATE = forms.DateInput(attrs={"type": "date"})


class FilterForm(forms.Form):
    """The filters of the page; an empty field means everything."""

    model = forms.ChoiceField(label=_("task model"), required=False)
    kind = forms.ChoiceField(label=_("event"), required=False)
    reason = forms.CharField(label=_("reason"), required=False, max_length=MAX_TEXT)
    worker = forms.CharField(label=_("worker"), required=False, max_length=MAX_TEXT)
    since = forms.DateField(label=_("from day"), required=False, widget=_DATE)
    until = forms.DateField(label=_("until day"), required=False, widget=_DATE)
    #: An exact time, for the links of the 24-hour counts: days begin at midnight.
    after = forms.CharField(required=False, max_length=40, widget=forms.HiddenInput)
    #: Those without a reason: an empty field means everything.
    unreasoned = forms.BooleanField(required=False, widget=forms.HiddenInput)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer.request.GET or None)
        self.scope = viewer.scope({})
        self.visible_models = {model._meta.label: model for model in self.scope.models or ()}
        labels = [("", "—"), *((label, label) for label in self.visible_models)]
        self.fields["model"].choices = labels  # type: ignore[attr-defined]
        kinds = [(str(kind), dict(KIND)[kind]) for kind in KINDS]
        self.fields["kind"].choices = [("", "—"), *kinds]  # type: ignore[attr-defined]

    def criteria(self) -> RecoveryFilter:
        """What to list; a field whose value is invalid restricts nothing."""
        self.is_valid()
        data = self.cleaned_data if self.is_bound else {}
        model, kind = self.visible_models.get(data.get("model") or ""), data.get("kind")
        return RecoveryFilter(
            scope=replace(self.scope, models=[model]) if model else self.scope,
            since=_parse_time(data.get("after") or "") or _midnight(data.get("since")),
            until=_day_after(data.get("until")),
            kinds=[EventKind(kind)] if kind else KINDS,
            reason=data.get("reason") or ("" if data.get("unreasoned") else None),
            worker=data.get("worker") or "",
        )


def page_context(site: AdminSite, request: HttpRequest) -> dict[str, Any]:
    """The context of the page: a hundred recoveries, and counts of the last 24 hours."""
    viewer = Viewer(site, request)
    form = FilterForm(viewer)
    criteria = form.criteria()
    page = recovery_report.page(criteria, PAGE_SIZE, _cursor(request))
    parameters = {n: value for n, value in request.GET.items() if n not in ("before", "skip")}
    return {
        "form": form,
        "recoveries": [_row(viewer, recovery) for recovery in page.recoveries],
        "has_databases": len(models_by_database(form.scope.models)) > 1,
        "unreachable_databases": [
            problems.unreachable_database(alias, error).translate(in_full=False)
            for alias, error in (form.scope.unreachable or {}).items()
        ],
        "counts": last_24_hours(criteria.scope),
        "since": criteria.since if form.is_bound and form.cleaned_data.get("after") else None,
        "older": urlencode({**parameters, **_cursor_parameters(page.next_cursor)})
        if page.next_cursor
        else "",
        "query": urlencode(parameters),
    }


def last_24_hours(scope: QueryScope) -> list[dict[str, Any]]:
    """Numbers of the last 24 hours by kind and reason, each with the query that lists them."""
    since = timezone.now() - _DAY
    counts = recovery_report.count_recoveries(since, scope)
    return [
        {
            "kind": badges.kind(EventKind(kind)),
            "reason": escape_invisible(reason),
            "number": f"{number}+" if kind in counts.capped else str(number),
            "query": urlencode(
                {"kind": kind, **_reason_parameters(reason), "after": since.isoformat()}
            ),
        }
        for (kind, reason), number in counts.numbers.items()
    ]


def _reason_parameters(reason: str) -> dict[str, str]:
    return {"reason": reason} if reason else {"unreasoned": "on"}


def export(site: AdminSite, request: HttpRequest) -> StreamingHttpResponse:
    """Stream all matching recoveries as CSV, oldest first within each table.

    A database that does not answer is reported in a line at the end.
    """
    form = FilterForm(Viewer(site, request))
    name = f"recoveries-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.csv"
    return StreamingHttpResponse(
        lines(recovery_report.COLUMNS, _csv_rows(form)),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _csv_rows(form: FilterForm) -> Iterator[tuple[object, ...]]:
    for recovery in recovery_report.recoveries(form.criteria()):
        yield astuple(recovery)
    for alias, error in (form.scope.unreachable or {}).items():
        cells = {"database": alias, "reason": _("This database does not answer.")}
        if isinstance(error, MissingSchema):
            problem = problems.unreachable_database(alias, error)
            cells["reason"] = problem.translate(in_full=False)
        yield tuple(str(cells.get(name, "")) for name in recovery_report.COLUMNS)


def _row(viewer: Viewer, recovery: recovery_report.Recovery) -> dict[str, object]:
    return {
        "time": times.format_instant(recovery.time),
        "kind": badges.kind(EventKind(recovery.kind)),
        "task": viewer.link(apps.get_model(recovery.model), recovery.database, recovery.task),
        "database": recovery.database,
        "attempt": recovery.attempt,
        "reason": escape_invisible(recovery.reason),
        "worker": badges.worker(recovery.worker),
        "actor": escape_invisible(recovery.actor),
    }


def _cursor(request: HttpRequest) -> Cursor | None:
    before_time = _parse_time(request.GET.get("before", ""))
    skip_text = request.GET.get("skip", "")
    if before_time is None:
        return None
    skip = min(int(skip_text), _MAX_SKIP) if skip_text.isdecimal() and len(skip_text) < 7 else 0
    return Cursor(before_time, skip)


def _parse_time(text: str) -> datetime | None:
    try:
        instant = parse_datetime(text)
    except ValueError:
        return None
    if instant is None or timezone.is_aware(instant) != settings.USE_TZ:
        return None
    # In another time zone it may be in a year that no database knows.
    return instant if MINYEAR < instant.year < MAXYEAR else None


def _cursor_parameters(cursor: Cursor) -> dict[str, object]:
    return {"before": cursor.time.isoformat(), "skip": cursor.skip}


def _day_after(day: date | None) -> datetime | None:
    return _midnight(day + _DAY) if day and day.year < MAXYEAR else None


def _midnight(day: date | None) -> datetime | None:
    if day is None or not MINYEAR < day.year < MAXYEAR:
        return None
    zone = timezone.get_current_timezone() if settings.USE_TZ else None
    return datetime.combine(day, time.min, zone)
