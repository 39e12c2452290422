"""How long something took, in the words of the reader's language."""

from __future__ import annotations

from datetime import timedelta

from django.utils.formats import number_format
from django.utils.translation import gettext as _

_SECOND, _MINUTE, _HOUR, _DAY = 1, 60, 3600, 86400


def in_words(duration: timedelta) -> str:
    """``duration`` in one or two units, such as "250 ms", "1.2 s", "3 min 20 s", "2 d 4 h"."""
    seconds = duration.total_seconds()
    return f"-{_positive(-seconds)}" if seconds < 0 else _positive(seconds)


def _positive(seconds: float) -> str:
    if round(seconds, 3) < _SECOND:
        return _("{} ms").format(round(seconds * 1000))
    if round(seconds, 1) < _MINUTE:
        return _("{} s").format(number_format(round(seconds, 1), 1))
    whole = round(seconds)
    if whole < _HOUR:
        return _("{} min {} s").format(*divmod(whole, _MINUTE))
    if whole < _DAY:
        return _("{} h {} min").format(*divmod(whole // _MINUTE, 60))
    return _("{} d {} h").format(*divmod(whole // _HOUR, 24))
