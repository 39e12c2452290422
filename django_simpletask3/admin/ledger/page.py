"""What the page of the ledger shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin import AdminSite
from django.db import Error, router
from django.db.models import Model
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ...audit.runs import audits_with_findings, last_full_audit, newest_audits
from ...models.audit_run import AuditRun
from ...models.explanation.durations import format_duration
from ...models.registry import models_by_database
from ...models.task import SimpleTask
from ...monitoring import problems
from ...monitoring.scope import QueryScope
from ...retention.rules import parse_rules
from ..html import times
from ..html.values import escape_invisible, format_count
from ..viewer import Viewer
from . import report
from .record import TableRecord, Totals, records_of, totals_of
from .report import Holds, Removal, TableKey
from .result import finding_rows
from .retention_words import kept_words

#: Audits that the page lists, and those with findings that are read.
MAX_AUDITS, MAX_WITH_FINDINGS = 20, 50
_Tables = Mapping[TableKey, type[SimpleTask]]


def page_context(site: AdminSite, request: HttpRequest) -> dict[str, Any]:
    """The context of the page: at most three statements about audits, and three per database."""
    viewer = Viewer(site, request)
    scope = viewer.scope({})
    tables = {
        (root._meta.label, using): root
        for using, roots in models_by_database(scope.models).items()
        for root in roots
    }
    runs, last_full, known = _audits(scope)
    records = records_of(known, tables)
    protection = report.protected_tables(scope)
    removals = report.last_removals(scope)
    broken = next((run for run in known if _is_broken(run, tables)), None)
    return {
        "health": _health(tables, records, protection, last_full, known),
        "tables": [
            _table_row(key, root, records[key], protection.get(key), removals.get(key))
            for key, root in tables.items()
        ],
        "has_databases": len({using for _label, using in tables}) > 1,
        "holds": _holds_words(viewer, report.current_holds(scope)),
        "findings": finding_rows(viewer, broken) if broken else [],
        "audits": [_audit_row(run, totals_of(run, tables)) for run in runs],
        "has_result": any(run.end_time for run in runs),
        "unreachable_databases": [
            problems.unreachable_database(alias, error).translate(in_full=False)
            for alias, error in (scope.unreachable or {}).items()
        ],
    }


def _audits(scope: QueryScope) -> tuple[list[AuditRun], AuditRun | None, list[AuditRun]]:
    """The newest audits, the last full one, and all that is known of the record, newest first.

    An audit with findings is known however many followed.
    """
    try:
        runs = newest_audits(MAX_AUDITS)
        full = next((run for run in runs if run.since is None and run.end_time), None)
        full = full or (last_full_audit() if len(runs) == MAX_AUDITS else None)
        known = {run.pk: run for run in (*runs, *([full] if full else []))}
        first_pk = min(known, default=0)
        known |= {run.pk: run for run in audits_with_findings(first_pk, MAX_WITH_FINDINGS)}
        return runs, full, [known[pk] for pk in sorted(known, reverse=True)]
    except Error as error:
        scope.mark_unreachable(router.db_for_read(AuditRun), error)
        return [], None, []


def _is_broken(run: AuditRun, tables: _Tables) -> bool:
    totals = totals_of(run, tables)
    return totals.findings > totals.repaired


def _health(
    tables: _Tables,
    records: Mapping[TableKey, TableRecord],
    protection: Mapping[TableKey, bool | None],
    last_full: AuditRun | None,
    known: Sequence[AuditRun],
) -> dict[str, Any]:
    """The sentence at the top: the state, its icon, and what it follows from."""
    findings = sum(record.findings for record in records.values())
    unread = [key for key, record in records.items() if record.read_time is None]
    sentences = []
    if findings:
        state, title = "failed", _("The record is not whole.")
        text = ngettext(
            "Audits have found %(count)s discrepancy that is not repaired.",
            "Audits have found %(count)s discrepancies that are not repaired.",
            findings,
        )
        sentences.append(text % {"count": format_count(findings)})
    elif unread or not tables:
        state, title = "lost", _("Nothing says yet whether the record is whole.")
    else:
        state, title = "succeeded", _("The record is whole.")
    if last_full is not None and totals_of(last_full, tables).tables:
        sentences.append(_full_audit_words(last_full, totals_of(last_full, tables)))
        sentences.append(_later_audit_words(last_full, known, tables))
    if unread:
        text = _("No audit has read all of %(tables)s: run manage.py django-simpletask3-audit.")
        sentences.append(text % {"tables": _names(tables, unread)})
    unprotected = [key for key in tables if protection.get(key) is False]
    if unprotected:
        text = ngettext(
            "%(tables)s is not protected by the database.",
            "%(tables)s are not protected by the database.",
            len(unprotected),
        )
        sentences.append(capfirst(text % {"tables": _names(tables, unprotected)}))
    icon = {"failed": "failed", "lost": "warn"}.get(state, "good")
    return {"state": state, "icon": icon, "title": title, "text": " ".join(filter(None, sentences))}


#: Tables that a sentence names; of more it says how many.
_MAX_NAMES = 3


def _names(tables: _Tables, keys: Sequence[TableKey]) -> str:
    if len(keys) > _MAX_NAMES:
        return ngettext("%(count)d table", "%(count)d tables", len(keys)) % {"count": len(keys)}
    return ", ".join(str(tables[key]._meta.verbose_name_plural) for key in keys)


def _full_audit_words(run: AuditRun, totals: Totals) -> str:
    events = ngettext("%(count)s event", "%(count)s events", totals.events)
    tables = ngettext("%(count)d table", "%(count)d tables", totals.tables)
    words = {
        "time": _day_and_time(run.begin_time),
        "duration": _duration(run),
        "events": events % {"count": format_count(totals.events)},
        "tables": tables % {"count": totals.tables},
    }
    if totals.findings:
        return _("The audit of %(time)s read all %(events)s of %(tables)s in %(duration)s.") % words
    return (
        _(
            "The audit of %(time)s read all %(events)s of %(tables)s in %(duration)s and found no "
            "event changed, missing or added."
        )
        % words
    )


def _later_audit_words(last_full: AuditRun, known: Sequence[AuditRun], tables: _Tables) -> str:
    later = [run for run in known if run.pk > last_full.pk and run.end_time and run.since]
    if not later or any(totals_of(run, tables).findings for run in later):
        return ""
    text = ngettext(
        "%(count)d audit has read newer events since, the last one %(time)s, and found nothing.",
        "%(count)d audits have read newer events since, the last one %(time)s, and found nothing.",
        len(later),
    )
    return text % {"count": len(later), "time": _day_and_time(later[0].begin_time)}


def _table_row(
    key: TableKey,
    root: type[Model],
    record: TableRecord,
    is_protected: bool | None,
    removal: Removal | None,
) -> dict[str, Any]:
    rules = parse_rules(getattr(root, "django_simpletask3_retention", None))
    return {
        "name": capfirst(root._meta.verbose_name_plural),
        "database": key[1],
        "events": "" if record.read_time is None else format_count(record.events),
        "is_read": record.read_time is not None,
        "findings": record.findings,
        "is_protected": is_protected,
        "kept": kept_words(rules),
        "removed": _removal_words(removal) if removal else _("none"),
    }


def _removal_words(removal: Removal) -> str:
    day = times.format_day(removal.day, times.today())
    words = {"day": day, "tasks": format_count(removal.tasks or removal.payloads)}
    if removal.is_at_least:
        words["tasks"] += "+"
    if not removal.tasks:
        return _("results of %(tasks)s on %(day)s") % words
    return _("%(tasks)s on %(day)s") % words


def _holds_words(viewer: Viewer, found: Sequence[Holds]) -> SafeString | str:
    """How many tasks of which model are on legal hold, in one sentence."""
    counted = [holds for holds in found if holds.keys is not None]
    parts = [_held_words(viewer, holds) for holds in counted]
    uncounted = [holds for holds in found if holds.keys is None]
    sentences: list[SafeString | str] = []
    if parts:
        total = sum(len(holds.keys or ()) for holds in counted)
        text = ngettext(
            "%(count)s task is on legal hold: {}. Nothing of it is deleted or erased until the "
            "hold is lifted.",
            "%(count)s tasks are on legal hold: {}. Nothing of them is deleted or erased until the "
            "hold is lifted.",
            total,
        )
        listed = format_html(", ".join(["{}"] * len(parts)), *parts)
        sentences.append(format_html(text % {"count": format_count(total)}, listed))
    if uncounted:
        names = ", ".join(str(holds.model._meta.verbose_name_plural) for holds in uncounted)
        text = _("There are too many holds on %(tables)s to count them here.")
        sentences.append(text % {"tables": names})
    if not sentences:
        return _("No task is on legal hold.")
    return format_html(" ".join(["{}"] * len(sentences)), *sentences)


def _held_words(viewer: Viewer, holds: Holds) -> SafeString | str:
    keys, meta = holds.keys or [], holds.model._meta
    name = meta.verbose_name if len(keys) == 1 else meta.verbose_name_plural
    words = f"{format_count(len(keys))} {name}"
    return viewer.selection_link(holds.model, holds.database, keys, words)


def _audit_row(run: AuditRun, totals: Totals) -> dict[str, Any]:
    events = ngettext("%(count)s event", "%(count)s events", totals.events)
    words = {
        "events": events % {"count": format_count(totals.events)},
        "duration": _duration(run),
        "since": _day_and_time(run.since) if run.since else "",
    }
    read = _("%(events)s in %(duration)s, of tasks since %(since)s")
    text = read if run.since else _("%(events)s in %(duration)s")
    who = {"actor": escape_invisible(run.actor), "host": escape_invisible(run.host)}
    return {
        "time": _day_and_time(run.begin_time),
        "instant": run.begin_time,
        "read": text % words if run.end_time else _("has not ended"),
        "found": _found_words(totals) if run.end_time else "",
        "is_broken": totals.findings > totals.repaired,
        "by": _("%(actor)s on %(host)s") % who if run.host else who["actor"],
    }


def _found_words(totals: Totals) -> str:
    if not totals.findings:
        return _("nothing")
    found = ngettext("%(count)s discrepancy", "%(count)s discrepancies", totals.findings)
    words = found % {"count": format_count(totals.findings)}
    if not totals.repaired:
        return words
    return _("%(found)s, %(count)s repaired") % {
        "found": words,
        "count": format_count(totals.repaired),
    }


def _duration(run: AuditRun) -> str:
    return format_duration(run.end_time - run.begin_time) if run.end_time else ""


def _day_and_time(instant: datetime) -> str:
    """``today, 04:00``, ``yesterday, 04:00``, or the date and the time."""
    local = times.local_time(instant)
    words = {"time": f"{local:%H:%M}"}
    today = times.today()
    if local.date() == today:
        return _("today, %(time)s") % words
    if local.date() == today - timedelta(days=1):
        return _("yesterday, %(time)s") % words
    return f"{times.format_day(local.date(), today)} {words['time']}"
