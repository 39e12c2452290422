"""The progress that a task function reports, or notes: ``task.note("page 3", progress=0.3)``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import OuterRef, Subquery, TextField
from django.db.models.functions import Substr
from django.utils.formats import localize
from django.utils.translation import gettext as _

from ...ledger.encoding import decode
from ...ledger.event import TaskEvent, events_of
from ...models.queryset import rows_of
from ...models.task import SimpleTask
from ...states import EventKind, Status
from ..html.values import escape_invisible
from . import data_prefix

#: The number of notes whose data is read in full.
MAX_FULL_READS = 3


@dataclass(frozen=True, slots=True)
class Progress:
    """A share from 0 to 1, or what is done of a total that may be unknown; the text of its note."""

    share: float | None
    done: float | None = None
    total: float | None = None
    words: str = ""

    @property
    def percent(self) -> int | None:
        return None if self.share is None else round(self.share * 100)

    def __str__(self) -> str:
        """As the list of tasks shows it."""
        parts = ("" if self.percent is None else f"{self.percent} %", self.amount)
        return " · ".join(filter(None, parts))

    @property
    def amount(self) -> str:
        """How much is done, of how much; empty if the task function said only the share."""
        if self.done is None:
            return ""
        if self.total is None:
            return _("%(done)s done") % {"done": localize(self.done)}
        return _("%(done)s of %(total)s") % {
            "done": localize(self.done),
            "total": localize(self.total),
        }


def latest_progress(events: Sequence[TaskEvent], attempt: int) -> Progress | None:
    """The last progress noted in ``attempt``, or None.

    If the data of notes was cut, the newest MAX_FULL_READS of them are read in full.
    """
    remaining_reads = MAX_FULL_READS
    for event in reversed(events):
        if event.kind != EventKind.NOTE or event.attempt != attempt:
            continue
        progress = progress_in(data_prefix.parse_prefix(event), event.reason)
        if progress is None and data_prefix.is_truncated(event) and remaining_reads:
            remaining_reads -= 1
            progress = progress_in(event.data, event.reason)
        if progress is not None:
            return progress
    return None


def progress_of_running(tasks: Iterable[SimpleTask]) -> dict[Any, Progress]:
    """The last progress of those of ``tasks``, of one table and database, that run; one query.

    By primary key. Without a query if none of them runs.
    """
    running = {task.pk: task for task in tasks if task.status == Status.RUNNING}
    if not running:
        return {}
    first = next(iter(running.values()))
    model, using = type(first), first._state.db or "default"
    heads = events_of(model, using).filter(
        task=OuterRef("pk"), attempt=OuterRef("attempt"), kind=EventKind.NOTE
    )
    heads = heads.annotate(
        head=Substr("data", 1, data_prefix.LIMIT + 1, output_field=TextField())
    ).filter(head__contains='"progress"')
    newest = Subquery(heads.order_by("-sequence").values("head")[:1])
    rows = rows_of(model, using).filter(pk__in=list(running)).annotate(head=newest)
    found = {pk: _in_head(head) for pk, head in rows.values_list("pk", "head") if head}
    return {pk: progress for pk, progress in found.items() if progress is not None}


def _in_head(head: str) -> Progress | None:
    return None if len(head) > data_prefix.LIMIT else progress_in(decode(head))


def progress_in(data: object, reason: str = "") -> Progress | None:
    """The progress that ``data`` of a note has; None if it is none."""
    value: Any = data.get("progress") if isinstance(data, dict) else None
    words = escape_invisible(reason)
    if isinstance(value, dict):
        return _reported(value, words)
    return Progress(float(value), words=words) if _is_number(value) and value <= 1 else None


def _reported(value: dict[str, Any], words: str) -> Progress | None:
    done, total = value.get("done"), value.get("total")
    if not _is_number(done):
        return None
    if not _is_number(total):
        return Progress(None, done, words=words)
    return Progress(min(done / total, 1.0) if total else 1.0, done, total, words)


def _is_number(value: Any) -> bool:
    """Whether it is a number of at least 0."""
    return type(value) in (int, float) and value >= 0
