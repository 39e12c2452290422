"""Points in time, to the millisecond."""

from __future__ import annotations

from datetime import UTC, datetime

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString


def exactly(moment: datetime) -> SafeString:
    """``moment`` in the current time zone: what happened first must be seen to be first."""
    local = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    day, clock = local.isoformat(sep=" ", timespec="milliseconds")[:23].split(" ")
    return format_html('<time datetime="{}">{} {}</time>', local.isoformat(), day, clock)


def of_timestamp(seconds: float | None) -> SafeString | str:
    """A Unix time; nothing if there is none."""
    if seconds is None:
        return ""
    moment = datetime.fromtimestamp(seconds, UTC)
    return exactly(moment)
