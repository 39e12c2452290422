"""Icons: references to the symbols of ``icons.html``, which each page of ours includes once."""

from __future__ import annotations

from django.utils.html import format_html
from django.utils.safestring import SafeString

from ...states import EventKind

#: The symbol of each kind of event.
ICON_BY_KIND = {
    EventKind.ENQUEUE: "plus",
    EventKind.START: "running",
    EventKind.ACK: "succeeded",
    EventKind.FAIL: "failed",
    EventKind.RETRY: "retry",
    EventKind.SNOOZE: "scheduled",
    EventKind.RECOVER: "recover",
    EventKind.DROP: "failed",
    EventKind.RELEASE: "waiting",
    EventKind.BLOCK: "blocked",
    EventKind.UNBLOCK: "waiting",
    EventKind.CANCEL: "canceled",
    EventKind.EXPIRE: "scheduled",
    EventKind.RESET: "retry",
    EventKind.REJECT: "reject",
    EventKind.NOTE: "note",
    EventKind.CHECKPOINT: "good",
    EventKind.HOLD: "hold",
    EventKind.LIFT: "hold",
    EventKind.ERASE: "erase",
    EventKind.DELETE: "failed",
}


def icon(name: str) -> SafeString:
    """The icon ``name``, hidden from screen readers: a word beside it has its meaning."""
    return format_html(
        '<svg class="st3-icon" aria-hidden="true"><use href="#st3-icon-{}"/></svg>', name
    )


def kind_icon(kind: object) -> SafeString:
    """The icon of an event of this kind; that of a note for a kind unknown to this version."""
    name = ICON_BY_KIND.get(kind, "note") if isinstance(kind, EventKind) else "note"
    return icon(name)
