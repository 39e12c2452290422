"""Checks of the entries of ``TASKS`` with the backend of this app."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from ...exceptions import FunctionMissing
from ...limits import Limit
from ...unique import Unique
from . import policies, queues, registry
from .framework import framework

OPTIONS_ID = "django_simpletask3.E131"
FRAMEWORK_ID = "django_simpletask3.E132"

_NAMES = ("DEFAULTS", "FUNCTIONS", "MODULES", "WORKER_NUMBER")


@register(Tags.compatibility)
def check_options(**_: object) -> list[CheckMessage]:
    """Check BACKEND, QUEUES and OPTIONS of each entry."""
    ours = queues.our_backends()
    faults = [
        (alias, *fault)
        for alias, entry in queues.all_backends().items()
        for fault in ((*_queues(entry), *_options(entry)) if alias in ours else _backend(entry))
    ]
    return [
        Error(f"TASKS[{alias!r}]: {text}", hint=hint, id=OPTIONS_ID) for alias, text, hint in faults
    ]


@register(Tags.compatibility)
def check_framework(**_: object) -> list[CheckMessage]:
    """Check that there is an API of tasks, if an entry names the backend of this app."""
    try:
        if queues.our_backends():
            framework()
    except ImproperlyConfigured:
        return [
            Error(
                "TASKS names SimpleTaskBackend, but this version of Django has no tasks.",
                hint='Install django-tasks: pip install "django-simpletask3[tasks]". Or use Django '
                "6.0, which needs Python 3.12.",
                id=FRAMEWORK_ID,
            )
        ]
    return []


def _backend(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Report another path of our backend: its queues and options would have no effect."""
    path = entry.get("BACKEND")
    try:
        from .backend import SimpleTaskBackend  # needs the framework, which may be missing

        is_ours = issubclass(import_string(str(path)), SimpleTaskBackend)
    except Exception:  # the framework says so, when it makes the backend
        return
    if is_ours:
        yield (
            f"BACKEND is {path!r}, which is SimpleTaskBackend or derives from it.",
            f"Write {queues.BACKEND_PATHS[0]!r}: its queues and options have no effect here.",
        )


def _queues(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    names = entry.get("QUEUES", [])
    if isinstance(names, str) or not isinstance(names, Iterable):
        yield f"QUEUES is {names!r}.", "Write a list of names."
        return
    for name in names:
        if not isinstance(name, str) or not 0 < len(name) <= 100:
            yield f"QUEUES names {name!r}.", "Write names of at most 100 characters."


def _options(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    given = entry.get("OPTIONS", {})
    if not isinstance(given, Mapping):
        yield f"OPTIONS is {given!r}.", "Write a dict."
        return
    for name in given:
        if name not in _NAMES:
            yield f"OPTIONS has no {name!r}.", f"Choose from: {', '.join(_NAMES)}."
    yield from _policies("DEFAULTS", given.get("DEFAULTS", {}))
    yield from _functions(given.get("FUNCTIONS", {}))
    yield from _modules(given.get("MODULES"))
    yield from _worker_number(entry, given.get("WORKER_NUMBER"))


def _functions(functions: Any) -> Iterator[tuple[str, str]]:
    hint = 'Write a dict by the paths of functions, as {"app.tasks.send": {"max_retries": 3}}.'
    if not isinstance(functions, Mapping):
        yield f"FUNCTIONS is {functions!r}.", hint
        return
    for path, values in functions.items():
        name = f"FUNCTIONS[{path!r}]"
        yield from _policies(name, values)
        try:
            function = registry.find(path).func
        except FunctionMissing as error:
            yield f"FUNCTIONS: {error}", "Correct the path, or name its module in MODULES."
            continue
        for value in values.values() if isinstance(values, Mapping) else ():
            if isinstance(value, Limit | Unique):
                for fault in policies.faults_of_template(function, value):
                    yield f"{name}: {fault}.", "Name arguments of the function."


def _policies(name: str, values: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(values, Mapping):
        yield f"{name} is {values!r}.", 'Write a dict, as {"max_retries": 3}.'
        return
    for key, value in values.items():
        if name == "DEFAULTS" and key in ("limit", "unique", "schedule"):
            yield f"DEFAULTS has {key!r}.", "Set it for single functions."
        elif fault := policies.fault_of(key, value):
            yield f"{name}: {fault}.", "Correct it."


def _modules(modules: Any) -> Iterator[tuple[str, str]]:
    names = [modules] if isinstance(modules, str) else modules
    is_list = names is None or isinstance(names, list | tuple | set | frozenset)
    if not is_list or not all(map(queues.is_module_name, names or ())):
        yield f"MODULES is {modules!r}.", "Write a list of dotted paths of modules."


def _worker_number(entry: Mapping[str, Any], numbers: Any) -> Iterator[tuple[str, str]]:
    if numbers is None:
        return
    hint = 'Write a dict of numbers of threads by the names of queues, as {"mail": 2}.'
    if not isinstance(numbers, Mapping):
        yield f"WORKER_NUMBER is {numbers!r}.", hint
        return
    known = {queues.DEFAULT_QUEUE, *queues.queues_of(entry)}
    for queue, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            yield f"WORKER_NUMBER of {queue!r} is {number!r}.", hint
        elif queue not in known:
            yield f"WORKER_NUMBER names {queue!r}, which is not among QUEUES.", hint
