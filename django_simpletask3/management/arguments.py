"""What the commands ask for alike: which task models, from when on, and who is asking."""

from __future__ import annotations

import getpass
from argparse import ArgumentTypeError
from datetime import datetime, time
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from ..models.registry import task_models
from ..models.task import SimpleTask


def chosen_models(labels: list[str] | None) -> list[type[SimpleTask]]:
    """The task models called ``labels`` (also several with commas), or all of them."""
    known = {model._meta.label_lower: model for model in task_models()}
    if not known:
        raise CommandError("There is no task model: subclass SimpleTask in an installed app.")
    if not labels:
        return list(known.values())
    asked = [label.strip() for part in labels for label in part.split(",") if label.strip()]
    unknown = [label for label in asked if label.lower() not in known]
    if unknown:
        names = ", ".join(sorted(model._meta.label for model in known.values()))
        raise CommandError(f"No such task model: {', '.join(unknown)}. There are: {names}.")
    return [known[label.lower()] for label in asked]


def moment(text: str) -> datetime:
    """A date or a time in ISO 8601, in the current time zone unless it names one."""
    try:
        found: Any = parse_datetime(text)
        if found is None and (day := parse_date(text)) is not None:
            found = datetime.combine(day, time())
    except ValueError:
        found = None
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no time: write 2026-01-31 or 2026-01-31T08:30")
    return found if timezone.is_aware(found) else timezone.make_aware(found)


def operator() -> str:
    """The user of the operating system, as the actor of what a command does."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"
