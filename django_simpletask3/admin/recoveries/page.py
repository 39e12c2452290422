"""The page of recoveries: every recover, drop, release and reject, filtered and exported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib.admin import AdminSite
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext_lazy

from ...db.errors import MissingSchema
from ...ledger.fields import MAX_TEXT
from ...monitoring import problems, recovery_report
from ...monitoring.csv_export import lines
from ...monitoring.recovery_report import KINDS, Cursor, RecoveryFilter
from ...monitoring.scope import QueryScope
from ...states import EventKind
from ..html import times
from ..html.values import format_count
from ..viewer import Viewer
from .histogram import histogram, midnight
from .rows import HAPPENED, recovery_rows

PAGE_SIZE = 100
#: Of events: a task may be lost, and run again, several times.
_TODAY = {
    EventKind.RECOVER: ngettext_lazy(
        "%(count)s task ran again after its worker or its message was lost",
        "tasks ran again %(count)s times after their workers or messages were lost",
        "number",
    ),
    EventKind.DROP: ngettext_lazy(
        "%(count)s task was given up", "tasks were given up %(count)s times", "number"
    ),
    EventKind.RELEASE: ngettext_lazy(
        "%(count)s task was handed back", "tasks were handed back %(count)s times", "number"
    ),
    EventKind.REJECT: ngettext_lazy(
        "%(count)s late result was refused", "%(count)s late results were refused", "number"
    ),
}
#: Recoveries of one instant that can be paged through.
_MAX_SKIP = 5000
_DAY = timedelta(days=1)
_DATE = forms.DateInput(attrs={"type": "date"})


class FilterForm(forms.Form):
    """The filters of the page; an empty field means everything."""

    model = forms.ChoiceField(label=gettext_lazy("Tasks"), required=False)
    kind = forms.ChoiceField(label=gettext_lazy("What happened"), required=False)
    reason = forms.CharField(label=gettext_lazy("Reason"), required=False, max_length=MAX_TEXT)
    worker = forms.CharField(
        label=gettext_lazy("Node or worker"), required=False, max_length=MAX_TEXT
    )
    since = forms.DateField(label=gettext_lazy("From"), required=False, widget=_DATE)
    until = forms.DateField(label=gettext_lazy("Until"), required=False, widget=_DATE)
    #: An exact time, for the links of the 24-hour counts: days begin at midnight.
    after = forms.CharField(required=False, max_length=40, widget=forms.HiddenInput)
    #: Those without a reason: an empty field means everything.
    unreasoned = forms.BooleanField(required=False, widget=forms.HiddenInput)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer.request.GET or None)
        self.scope = viewer.scope({})
        self.visible_models = {model._meta.label: model for model in self.scope.models or ()}
        visible = self.visible_models.items()
        labels = ((label, capfirst(model._meta.verbose_name_plural)) for label, model in visible)
        fields: Any = self.fields
        fields["model"].choices = [("", _("of any kind")), *labels]
        kinds = [(str(kind), HAPPENED[kind][1]) for kind in KINDS]
        fields["kind"].choices = [("", _("anything")), *kinds]

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
    """The context of the page: today in words, thirty days as a picture, a hundred recoveries."""
    viewer = Viewer(site, request)
    form = FilterForm(viewer)
    criteria = form.criteria()
    page = recovery_report.page(criteria, PAGE_SIZE, _cursor(request))
    parameters = {n: value for n, value in request.GET.items() if n not in ("before", "skip")}
    today = _today(form.scope)
    return {
        "form": form,
        "recoveries": recovery_rows(viewer, form.scope, page.recoveries),
        "heading": _heading(form),
        "is_filtered": any(parameters.values()),
        "today": _today_words(today),
        "numbers_of_today": today,
        "histogram": histogram(form.scope),
        "unreachable_databases": [
            problems.unreachable_database(alias, error).translate(in_full=False)
            for alias, error in (form.scope.unreachable or {}).items()
        ],
        "since": criteria.since if form.is_bound and form.cleaned_data.get("after") else None,
        "older": urlencode({**parameters, **_cursor_parameters(page.next_cursor)})
        if page.next_cursor
        else "",
        "query": urlencode(parameters),
    }


def _heading(form: FilterForm) -> str:
    """The day that is listed, if it is one."""
    data = form.cleaned_data if form.is_bound else {}
    day = data.get("since")
    if day is None or day != data.get("until"):
        return _("Recoveries")
    return date_format(day, "DATE_FORMAT")


def _today(scope: QueryScope) -> list[dict[str, str]]:
    """What happened today: numbers in words, each with the query that lists them."""
    today = times.today()
    counts = recovery_report.count_recoveries(midnight(today), scope)
    numbers: Counter[str] = Counter()
    for (kind, _reason), number in counts.numbers.items():
        numbers[kind] += number
    return [
        {
            "words": _TODAY[EventKind(kind)]
            % {"number": number, "count": _count_words(number, kind in counts.capped)},
            "query": urlencode({"kind": kind, "since": today.isoformat()}),
        }
        for kind in KINDS
        if (number := numbers[kind])
    ]


def _today_words(numbers: Sequence[Mapping[str, str]]) -> SafeString | str:
    """Today in one sentence, with links."""
    if not numbers:
        return _("Today nothing was lost: no task had to run again.")
    links = [
        format_html('<a href="?{}"><strong>{}</strong></a>', part["query"], part["words"])
        for part in numbers
    ]
    sentence = _("Today {}. Each task below says what became of it.")
    return format_html(sentence, format_html(", ".join(["{}"] * len(links)), *links))


def _count_words(number: int, is_at_least: bool) -> str:
    words = format_count(number)
    return f"{words}+" if is_at_least else words


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
    return midnight(day) if day is not None and MINYEAR < day.year < MAXYEAR else None
