"""The progress that a task function reports, or notes: ``task.note("page 3", progress=0.3)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.utils.formats import localize
from django.utils.translation import gettext as _

from ...ledger.event import TaskEvent
from ...states import EventKind
from ..html.values import escape_invisible
from . import data_prefix

#: The number of notes whose data is read in full.
MAX_FULL_READS = 3
#: Numbers are smaller, as those that a task function reports.
_END = 2**53


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

    @property
    def text(self) -> str:
        """The share, or how much is done if that is not known."""
        return self.amount if self.percent is None else f"{self.percent} %"


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


def progress_in(data: object, reason: str = "") -> Progress | None:
    """The progress that ``data`` of a note has; None if it is none."""
    value: Any = data.get("progress") if isinstance(data, dict) else None
    words = escape_invisible(reason)
    if isinstance(value, dict):
        return _reported(value, words)
    share = _number(value)
    return Progress(float(share), words=words) if share is not None and share <= 1 else None


def _reported(value: dict[str, Any], words: str) -> Progress | None:
    done, total = _number(value.get("done")), _number(value.get("total"))
    if done is None:
        return None
    if total is None:
        return Progress(None, done, words=words)
    return Progress(min(done / total, 1.0) if total else 1.0, done, total, words)


def _number(value: Any) -> float | None:
    """``value`` if it is a number of at least 0, below 2**53; else None."""
    if isinstance(value, Decimal) and value.is_finite():
        value = float(value)
    return value if type(value) in (int, float) and 0 <= value < _END else None
