"""Whether the record of each table is whole, as far as audits have read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ...models.audit_run import AuditRun
from .report import TableKey

#: A task, the number of an event, and what is wrong there.
_Identity = tuple[str, int, str]


@dataclass(slots=True)
class TableRecord:
    """What audits say about one table, since the last one that has read all of it."""

    #: When the audit that read all of it began; None if none did.
    read_time: datetime | None = None
    #: The number of events that it read.
    events: int = 0
    #: Discrepancies found since then, this audit included, that were not repaired.
    open: set[_Identity] = field(default_factory=set)
    #: Those that were repaired.
    repaired: set[_Identity] = field(default_factory=set)
    #: Further ones of one audit: of many only the first are kept with its record.
    unlisted: int = 0

    @property
    def findings(self) -> int:
        """How many discrepancies are not repaired; one that several audits found counts once."""
        return len(self.open) + self.unlisted

    def add_older(self, counts: Mapping[str, Any], found: Iterable[Mapping[str, Any]]) -> None:
        """Add what an audit found that is older than those added before."""
        listed = [(_identity(finding), finding["repaired"]) for finding in found]
        unrepaired = [identity for identity, is_repaired in listed if not is_repaired]
        unlisted = counts["findings"] - counts["repaired"] - len(unrepaired)
        self.unlisted = max(self.unlisted, unlisted)
        self.open |= set(unrepaired) - self.repaired
        self.repaired |= {identity for identity, is_repaired in listed if is_repaired}


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums of an audit over some tables."""

    tables: int
    events: int
    findings: int
    repaired: int


def records_of(runs: Sequence[AuditRun], keys: Iterable[TableKey]) -> dict[TableKey, TableRecord]:
    """The record of each table; ``runs`` are the newest audits first."""
    records = {key: TableRecord() for key in keys}
    for run in runs:
        for counts in tables_of(run):
            record = records.get((counts["model"], counts["database"]))
            if record is None or record.read_time is not None:
                continue
            if counts["findings"]:
                record.add_older(counts, _found_in(run, counts))
            if run.since is None:
                record.read_time, record.events = run.begin_time, counts["events"]
    return records


def _found_in(run: AuditRun, counts: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: Any = run.found
    table = (counts["model"], counts["database"])
    return [finding for finding in found or () if (finding["model"], finding["database"]) == table]


def _identity(finding: Mapping[str, Any]) -> _Identity:
    return finding["task"], finding["sequence"], finding["problem"]


def totals_of(run: AuditRun, keys: Iterable[TableKey]) -> Totals:
    """The sums of ``run`` over the tables ``keys``."""
    visible = set(keys)
    rows = [c for c in tables_of(run) if (c["model"], c["database"]) in visible]
    sums = (sum(row[name] for row in rows) for name in ("events", "findings", "repaired"))
    return Totals(len(rows), *sums)


def tables_of(run: AuditRun) -> list[dict[str, Any]]:
    """What ``run`` says about each table; nothing unless it has ended."""
    tables: Any = run.tables
    return tables or []
