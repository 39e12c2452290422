"""Statuses and transitions as labels that are readable without colours."""

from __future__ import annotations

from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

from ...ledger.fields import KIND, STATUS
from ...states import Status
from .values import escape_invisible

_SYMBOLS = {
    Status.PENDING: "○",
    Status.BLOCKED: "◍",
    Status.RUNNING: "▶",
    Status.SUCCESS: "✓",
    Status.FAILED: "✕",
    Status.CANCELED: "⊘",
}

_MAX_PARTS = 3


def status(value: Any) -> SafeString:
    """The label of a status; a number unknown to this version is shown unchanged."""
    name = value.name.lower() if isinstance(value, Status) else "unknown"
    return format_html(
        '<span class="st3-badge st3-{}"><span aria-hidden="true">{}</span> {}</span>',
        name,
        _SYMBOLS.get(value, "?"),
        dict(STATUS).get(value, value),
    )


def transition(before: object, after: object) -> SafeString:
    """The change from one status to another; None means that there is no row."""
    if before == after:
        return status(after)
    sides = [SafeString() if side is None else status(side) for side in (before, after)]
    return format_html('<span class="st3-transition">{} <span>→</span> {}</span>', *sides)


def kind(value: Any) -> SafeString:
    """The kind of an event, translated and as stored."""
    label = dict(KIND).get(value, value)
    return format_html('<span class="st3-kind">{}</span> <code>{}</code>', label, value)


def worker(name: str) -> SafeString | str:
    """The end of a worker's name, by which workers differ; the title has the full name."""
    text = escape_invisible(name)
    parts = text.split(":")
    if len(parts) <= _MAX_PARTS:
        return text
    return format_html('<span title="{}">…{}</span>', text, ":".join(parts[-_MAX_PARTS:]))
