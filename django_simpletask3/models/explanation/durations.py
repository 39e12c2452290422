"""Durations in the user's language."""

from __future__ import annotations

from datetime import timedelta

from django.utils.formats import number_format
from django.utils.translation import gettext as _

_SECOND, _MINUTE, _HOUR, _DAY = 1, 60, 3600, 86400


def format_duration(duration: timedelta) -> str:
    """``duration`` in one or two units, such as "250 ms", "1.2 s", "3 min 20 s", "2 h"."""
    seconds = duration.total_seconds()
    return f"-{_format_seconds(-seconds)}" if seconds < 0 else _format_seconds(seconds)


def _format_seconds(seconds: float) -> str:
    if round(seconds, 3) < _SECOND:
        return _("{} ms").format(round(seconds * 1000))
    if round(seconds, 1) < _MINUTE:
        return _("{} s").format(number_format(round(seconds, 1), 1))
    whole_seconds = round(seconds)
    if whole_seconds < _HOUR:
        minutes, rest = divmod(whole_seconds, _MINUTE)
        return _("{} min {} s").format(minutes, rest) if rest else _("{} min").format(minutes)
    if whole_seconds < _DAY:
        hours, rest = divmod(whole_seconds // _MINUTE, 60)
        return _("{} h {} min").format(hours, rest) if rest else _("{} h").format(hours)
    days, rest = divmod(whole_seconds // _HOUR, 24)
    return _("{} d {} h").format(days, rest) if rest else _("{} d").format(days)
