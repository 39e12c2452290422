"""Backends for tests of a project: they take the fields that ``@task`` takes with ours."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..backend import PolicyBackend
from ..framework import framework

_backends: Any = f"{framework().name}.backends"


class DummyBackend(PolicyBackend, import_module(f"{_backends}.dummy").DummyBackend):  # type: ignore[misc]
    """As Django's: keeps what is enqueued in ``results``, and runs nothing."""


class ImmediateBackend(PolicyBackend, import_module(f"{_backends}.immediate").ImmediateBackend):  # type: ignore[misc]
    """As Django's: runs a function when it is enqueued, once; it knows no retries or limits."""
