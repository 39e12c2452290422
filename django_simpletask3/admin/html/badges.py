"""Kinds of events and names of workers as pages of the old look show them."""

from __future__ import annotations

from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

from ...ledger.fields import KIND
from .values import escape_invisible

_MAX_PARTS = 3


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
