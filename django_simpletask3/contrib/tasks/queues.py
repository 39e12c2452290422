"""The queues that ``TASKS`` names: each has a channel, and so a model, of its own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings

#: The queue of tasks that name none, and of those whose queue has no channel of its own.
DEFAULT_QUEUE = "default"
BACKEND_PATHS = (
    "django_simpletask3.contrib.tasks.SimpleTaskBackend",
    "django_simpletask3.contrib.tasks.backend.SimpleTaskBackend",
)
_PLAIN_NAME = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
_MAX_NAME = 40


def our_backends() -> dict[str, Mapping[str, Any]]:
    """The entries of ``TASKS`` with the backend of this app, by their aliases."""
    entries = getattr(settings, "TASKS", None) or {}
    return {
        alias: entry
        for alias, entry in entries.items()
        if isinstance(entry, Mapping) and entry.get("BACKEND") in BACKEND_PATHS
    }


def options_of(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The OPTIONS of an entry of ``TASKS``; empty if they are no mapping."""
    options = entry.get("OPTIONS")
    return options if isinstance(options, Mapping) else {}


def named_queues() -> list[str]:
    """The queues besides the default one that ``TASKS`` names for the backend of this app."""
    names: Iterator[Any] = (q for e in our_backends().values() for q in e.get("QUEUES") or ())
    return sorted({name for name in names if isinstance(name, str)} - {DEFAULT_QUEUE})


def worker_number_of(queue: str) -> int | None:
    """The threads per node that OPTIONS["WORKER_NUMBER"] gives to ``queue``; None without."""
    for entry in our_backends().values():
        numbers = options_of(entry).get("WORKER_NUMBER")
        number = numbers.get(queue) if isinstance(numbers, Mapping) else None
        if isinstance(number, int) and not isinstance(number, bool) and number > 0:
            return number
    return None


def model_name_of(queue: str) -> str:
    """The name of the model of ``queue``: ``FunctionTask_mail``.

    Part of a digest tells apart names that are no names of classes, or differ in case only.
    """
    if _PLAIN_NAME.fullmatch(queue) and len(queue) <= _MAX_NAME:
        return f"FunctionTask_{queue}"
    words = "_".join(re.findall(r"[a-z0-9]+", queue.lower()))[:_MAX_NAME].rstrip("_")
    digest = hashlib.sha256(queue.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return "_".join(part for part in ("FunctionTask", words, digest) if part)
