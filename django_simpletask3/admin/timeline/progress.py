"""How far a running body has come, as it noted itself: ``task.note("page 3", progress=0.3)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...states import EventKind
from ..html.values import escape_invisible
from . import data_prefix

#: Notes whose data is read as a whole.
MAX_FULL_READS = 3


@dataclass(frozen=True, slots=True)
class Progress:
    """A share from 0 to 1, with the words that went with it."""

    share: float
    words: str

    @property
    def percent(self) -> int:
        return round(self.share * 100)


def latest_progress(events: Sequence[Any], attempt: int) -> Progress | None:
    """The last progress that was noted in this ``attempt``; None if none was.

    Of notes with so much data that it was cut, the newest are read as a whole if they must be.
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


def _share(data: Any) -> float | None:
    share = data.get("progress") if isinstance(data, dict) else None
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        return None
    return float(share)
