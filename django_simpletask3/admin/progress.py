"""How far a running body has come, as it noted itself: ``task.note("page 3", progress=0.3)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django_simpletask3.encoding import decode
from django_simpletask3.states import EventKind

from .values import visible


@dataclass(frozen=True, slots=True)
class Progress:
    """A share from 0 to 1, with the words that went with it."""

    share: float
    words: str

    @property
    def percent(self) -> int:
        return round(self.share * 100)


def reported(events: Sequence[Any], attempt: int) -> Progress | None:
    """The last progress that was noted in this ``attempt``; None if none was."""
    for event in reversed(events):
        if event.kind == EventKind.NOTE and event.attempt == attempt:
            share = _share(event)
            if share is not None:
                return Progress(share, visible(event.reason))
    return None


def _share(event: Any) -> float | None:
    head = getattr(event, "head", None)
    data = decode(head) if head is not None else None
    share = data.get("progress") if isinstance(data, dict) else None
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        return None
    return float(share)
