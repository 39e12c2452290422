"""Arguments that several commands share: task models, times and the acting user."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser, ArgumentTypeError
from datetime import datetime, time
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from ..models.registry import task_models
from ..models.task import SimpleTask


def counted(number: int, noun: str) -> str:
    """``1 event``, ``2 events``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def add_model_argument(parser: ArgumentParser, *, default: object = None) -> None:
    """Add ``--model``, whose value is for ``select_models``."""
    parser.add_argument(
        "--model",
        action="append",
        default=default,
        metavar="APP.MODEL",
        help="Restricts the command to these task models. Repeat it, or use commas.",
    )


def select_models(labels: list[str] | None) -> list[type[SimpleTask]]:
    """The task models with these labels, each of which may be a comma-separated list, or all."""
    models_by_label = {model._meta.label_lower: model for model in task_models()}
    if not models_by_label:
        raise CommandError("There is no task model. Subclass SimpleTask in an installed app.")
    if not labels:
        return list(models_by_label.values())
    requested = [label.strip() for part in labels for label in part.split(",") if label.strip()]
    unknown = [label for label in requested if label.lower() not in models_by_label]
    if unknown:
        names = ", ".join(sorted(model._meta.label for model in models_by_label.values()))
        raise CommandError(f"No such task model: {', '.join(unknown)}. Choose from: {names}.")
    return [models_by_label[label.lower()] for label in requested]


def select_queues(names: list[str]) -> list[type[SimpleTask]]:
    """The task models of these queues, each of which may be a comma-separated list.

    Only models that ``TASKS`` names as queues have one.
    """
    models = {model._queue_name: model for model in task_models() if model._queue_name is not None}
    requested = [name.strip() for part in names for name in part.split(",") if name.strip()]
    unknown = [name for name in requested if name not in models]
    if unknown or not requested:
        known = f"Choose from: {', '.join(sorted(models))}." if models else "There are none."
        raise CommandError(f"No such queue: {', '.join(unknown)}. {known}")
    return [models[name] for name in requested]


def parse_time(text: str) -> datetime:
    """Parse a date or time in ISO 8601, in the current time zone unless it names another."""
    try:
        parsed: Any = parse_datetime(text)
        if parsed is None and (day := parse_date(text)) is not None:
            parsed = datetime.combine(day, time())
    except ValueError:
        parsed = None
    if parsed is None:
        raise ArgumentTypeError(f"{text!r} is not a time: write 2026-01-31 or 2026-01-31T08:30")
    return parsed if timezone.is_aware(parsed) else timezone.make_aware(parsed)


def operator() -> str:
    """The user of the operating system, who is the actor of the command."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"
