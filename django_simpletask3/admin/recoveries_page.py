"""The auditor's page: every recover, drop, release and reject, to be narrowed down and exported."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.http import StreamingHttpResponse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext_lazy as _

from django_simpletask3 import recoveries
from django_simpletask3.fields import KIND
from django_simpletask3.spreadsheets import lines
from django_simpletask3.states import EventKind

from . import access, badges, moments
from .values import visible

_PAGE = 100
_DAY = timedelta(days=1)
_DATE = forms.DateInput(attrs={"type": "date"})


class Filter(forms.Form):
    """What is to be listed; an empty field means everything."""

    model = forms.ChoiceField(label=_("task model"), required=False)
    kind = forms.ChoiceField(label=_("event"), required=False)
    reason = forms.CharField(label=_("reason"), required=False, max_length=255)
    worker = forms.CharField(label=_("worker"), required=False, max_length=255)
    since = forms.DateField(label=_("from day"), required=False, widget=_DATE)
    until = forms.DateField(label=_("until day"), required=False, widget=_DATE)

    def __init__(self, request: Any) -> None:
        super().__init__(request.GET or None)
        self.visible = {model._meta.label: model for model in access.visible_models(request)}
        self.fields["model"].choices = [("", "—"), *((one, one) for one in self.visible)]  # type: ignore[attr-defined]
        kinds = [(str(kind), dict(KIND)[kind]) for kind in recoveries.KINDS]
        self.fields["kind"].choices = [("", "—"), *kinds]  # type: ignore[attr-defined]

    def asked(self) -> dict[str, Any]:
        """The arguments for ``recoveries``; a field that makes no sense narrows nothing down."""
        self.is_valid()
        said = self.cleaned_data if self.is_bound else {}
        model, kind = self.visible.get(said.get("model") or ""), said.get("kind")
        return {
            "chosen": [model] if model else list(self.visible.values()),
            "kinds": [EventKind(kind)] if kind else recoveries.KINDS,
            "reason": said.get("reason") or "",
            "worker": said.get("worker") or "",
            "since": _midnight(said.get("since")),
        }

    def end(self) -> datetime | None:
        """Before when; the whole day that was named is meant."""
        day = self.cleaned_data.get("until") if self.is_bound else None
        return _midnight(day + _DAY) if day else None


def context(site: Any, request: Any) -> dict[str, Any]:
    """What the page shows: a hundred recoveries, and how many of each kind there were today."""
    form = Filter(request)
    asked = form.asked()
    page = recoveries.newest(most=_PAGE, until=_until(request, form.end()), **asked)
    counted = recoveries.counted(timezone.now() - _DAY, asked["chosen"])
    kept = {name: value for name, value in request.GET.items() if name not in ("before", "seen")}
    return {
        "form": form,
        "found": [_row(site, request, one) for one in page.found],
        "counts": counts(counted),
        "older": urlencode({**kept, **_rest(page.rest)}) if page.rest else "",
        "query": urlencode(kept),
    }


def counts(counted: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    """Numbers by kind and reason, each with the query that lists them."""
    since = (timezone.localtime() if settings.USE_TZ else timezone.now()) - _DAY
    return [
        {
            "kind": badges.kind(EventKind(kind)),
            "reason": visible(reason),
            "number": number,
            "query": urlencode({"kind": kind, "reason": reason, "since": f"{since:%Y-%m-%d}"}),
        }
        for (kind, reason), number in counted.items()
    ]


def export(request: Any) -> StreamingHttpResponse:
    """All that the page would list, oldest first within each table, as it is read."""
    form = Filter(request)
    found = recoveries.recoveries(**form.asked(), until=form.end())
    name = f"recoveries-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.csv"
    return StreamingHttpResponse(
        lines(recoveries.COLUMNS, (one.cells() for one in found)),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _row(site: Any, request: Any, one: recoveries.Recovery) -> dict[str, Any]:
    return {
        "time": moments.exactly(one.time),
        "kind": badges.kind(EventKind(one.kind)),
        "task": access.link(site, request, one.model, one.task),
        "attempt": one.attempt,
        "reason": visible(one.reason),
        "worker": badges.worker(one.worker),
        "actor": visible(one.actor),
    }


def _until(request: Any, end: datetime | None) -> tuple[datetime, int] | None:
    moment = _moment(request.GET.get("before", ""))
    seen = request.GET.get("seen", "")
    if moment is not None:
        return moment, int(seen) if seen.isdecimal() and len(seen) < 7 else 0
    # Before midnight, to the microsecond.
    return (end - timedelta(microseconds=1), 0) if end else None


def _moment(text: str) -> datetime | None:
    try:
        moment = parse_datetime(text)
    except ValueError:
        return None
    return moment if moment and timezone.is_aware(moment) == settings.USE_TZ else None


def _rest(rest: tuple[datetime, int]) -> dict[str, Any]:
    return {"before": rest[0].isoformat(), "seen": rest[1]}


def _midnight(day: Any) -> datetime | None:
    if day is None:
        return None
    zone = timezone.get_current_timezone() if settings.USE_TZ else None
    return datetime.combine(day, time.min, zone)
