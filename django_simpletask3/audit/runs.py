"""Record each audit in the table of audits."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.db import Error, router, transaction
from django.utils import timezone

from ..db.errors import error_text
from ..ledger.fields import MAX_TEXT
from ..ledger.task_row import all_rows
from ..logs import get_logger
from ..models.audit_run import AuditRun
from ..models.task import SimpleTask
from .check import Finding

_logger = get_logger(__name__)

#: Findings that are kept with the record, the first ones, and characters of each.
MAX_FOUND = 100
_MAX_DETAIL = 500


@dataclass(slots=True)
class TableCounts:
    """What an audit has read of one table, and found in it."""

    model: str
    database: str
    tasks: int = 0
    events: int = 0
    findings: int = 0
    repaired: int = 0


class AuditRecord:
    """The record of an audit that runs."""

    def __init__(self) -> None:
        self.tables: list[TableCounts] = []
        self._found: list[dict[str, Any]] = []

    def add_table(self, root: type[SimpleTask], using: str) -> TableCounts:
        """Begin the counts of a table."""
        counts = TableCounts(root._meta.label, using)
        self.tables.append(counts)
        return counts

    def add_finding(self, counts: TableCounts, finding: Finding) -> None:
        """Count a finding; the first ones are kept."""
        counts.findings += 1
        counts.repaired += finding.repaired
        if len(self._found) < MAX_FOUND:
            kept = {**asdict(finding), "detail": finding.detail[:_MAX_DETAIL]}
            self._found.append({**kept, "problem": str(finding.problem)})

    def copy_to(self, row: AuditRun) -> None:
        """Set the columns of ``row``, but for its times."""
        row.tasks = sum(table.tasks for table in self.tables)
        row.events = sum(table.events for table in self.tables)
        row.findings = sum(table.findings for table in self.tables)
        row.repaired = sum(table.repaired for table in self.tables)
        columns: Any = row
        columns.tables, columns.found = list(map(asdict, self.tables)), self._found


@contextmanager
def recorded_audit(since: datetime | None, actor: str) -> Iterator[AuditRecord]:
    """Within the block an audit runs: its record is written before and, if it ends, after it.

    An audit works without its record: if that cannot be written, the log says so.
    """
    row = AuditRun(begin_time=timezone.now(), since=since, actor=actor[:MAX_TEXT])
    row.host = socket.gethostname()[:MAX_TEXT]
    record = AuditRecord()
    _write(row)
    yield record
    record.copy_to(row)
    row.end_time = timezone.now()
    _write(row)


def _write(row: AuditRun) -> None:
    using = router.db_for_write(AuditRun)
    try:
        with transaction.atomic(using=using):
            row.save(using=using)
    except Error as error:
        _logger.warning("audit_not_recorded database=%s error=%s", using, error_text(error))


def newest_audits(limit: int) -> list[AuditRun]:
    """The newest audits, without what they found; one statement."""
    rows = all_rows(AuditRun, router.db_for_read(AuditRun))
    return list(rows.defer("found").order_by("-pk")[:limit])


def audits_with_findings(first_pk: int, limit: int) -> list[AuditRun]:
    """The newest audits from ``first_pk`` on that have ended and found something; one statement."""
    rows = all_rows(AuditRun, router.db_for_read(AuditRun))
    ended = rows.filter(pk__gte=first_pk, end_time__isnull=False, findings__gt=0)
    return list(ended.order_by("-pk")[:limit])


def last_full_audit() -> AuditRun | None:
    """The newest audit that was to read everything and has ended; one statement."""
    rows = all_rows(AuditRun, router.db_for_read(AuditRun))
    full = rows.filter(since__isnull=True, end_time__isnull=False).order_by("-pk")
    found: AuditRun | None = full.defer("found").first()
    return found
