"""The progress that a task function notes: ``task.note("page 3", progress=0.3)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...ledger.event import TaskEvent
from ...states import EventKind
from ..html.values import escape_invisible
from . import data_prefix

#: The number of notes whose data is read in full.
MAX_FULL_READS = 3


@dataclass(frozen=True, slots=True)
class Progress:
    """A share from 0 to 1, with the text of its note."""

    share: float
    words: str

    @property
    def percent(self) -> int:
        return round(self.share * 100)


def latest_progress(events: Sequence[TaskEvent], attempt: int) -> Progress | None:
    """The last progress noted in ``attempt``, or None.

    If the data of notes was cut, the newest MAX_FULL_READS of them are read in full.
    """
    remaining_reads = MAX_FULL_READS
    for event in reversed(events):
        if event.kind != EventKind.NOTE or event.attempt != attempt:
            continue
        share = _share(data_prefix.parse_prefix(event))
        if share is None and data_prefix.is_truncated(event) and remaining_reads:
            remaining_reads -= 1
            share = _share(event.data)
        if share is not None:
            return Progress(share, escape_invisible(event.reason))
    return None


def _share(data: object) -> float | None:
    share = data.get("progress") if isinstance(data, dict) else None
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        return None
    return float(share)
