"""The queues that ``TASKS`` names: each has a channel, and so a model, of its own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
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
    return {
        alias: entry
        for alias, entry in all_backends().items()
        if entry.get("BACKEND") in BACKEND_PATHS
    }


# What is wrong in ``TASKS`` is reported by ``check``, so that nothing here may raise: it is read
# while models are imported, in ``ready()`` and in other checks. A wrong value counts as none.


def all_backends() -> dict[str, Mapping[str, Any]]:
    """The entries of ``TASKS`` by their aliases, without those that are no mappings."""
    entries = as_mapping(getattr(settings, "TASKS", None))
    return {alias: entry for alias, entry in entries.items() if isinstance(entry, Mapping)}


def options_of(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The OPTIONS of an entry of ``TASKS``; empty if they are no mapping."""
    return as_mapping(entry.get("OPTIONS"))


def as_mapping(value: Any) -> Mapping[str, Any]:
    """``value``, or an empty one if it is no mapping."""
    return value if isinstance(value, Mapping) else {}


def queues_of(entry: Mapping[str, Any]) -> list[str]:
    """The names in QUEUES of an entry of ``TASKS``."""
    names = entry.get("QUEUES")
    is_list = isinstance(names, Iterable) and not isinstance(names, str)
    return [name for name in names or () if isinstance(name, str)] if is_list else []


def modules_of(entry: Mapping[str, Any]) -> list[str]:
    """The modules that OPTIONS["MODULES"] of an entry of ``TASKS`` names."""
    modules = options_of(entry).get("MODULES")
    names = [modules] if isinstance(modules, str) else modules
    if not isinstance(names, list | tuple | set | frozenset):
        return []
    return [name for name in names if is_module_name(name)]


def is_module_name(value: Any) -> bool:
    """Whether ``value`` may be the dotted path of a module."""
    return isinstance(value, str) and all(map(str.isidentifier, value.split(".")))


def named_queues() -> list[str]:
    """The queues besides the default one that ``TASKS`` names for the backend of this app."""
    names = {name for entry in our_backends().values() for name in queues_of(entry)}
    return sorted(names - {DEFAULT_QUEUE})


def worker_number_of(queue: str) -> int | None:
    """The threads per node that OPTIONS["WORKER_NUMBER"] gives to ``queue``; None without."""
    for entry in our_backends().values():
        number = as_mapping(options_of(entry).get("WORKER_NUMBER")).get(queue)
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
