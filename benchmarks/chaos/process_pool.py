"""Where the actors are forked: a process that has loaded Django, and everything they need, once.

A storm starts thousands of processes. Loading Django for each of them would take the machine's time
from the workers; a fork of a process that has no thread and no connection takes next to none.
"""

import contextlib
import os
import platform
import sys
from pathlib import Path

import django

django.setup()

from django.core.management import execute_from_command_line  # noqa: E402

from benchmarks.chaos import producers  # noqa: E402
from django_simpletask3.worker.node import supervisor  # noqa: E402, F401


def run_node(log: Path, host: str, *words: str) -> None:
    """Be ``manage.py django-simpletask3-server`` on the machine ``host``."""
    _begin(log)
    # Another machine cannot see which processes are dead.
    platform.node = lambda: host
    execute_from_command_line(["manage.py", "django-simpletask3-server", *words])


def run_producer(log: Path, seed: int) -> None:
    """Be a process that makes work."""
    _begin(log)
    producers.main(seed)


def _begin(log: Path) -> None:
    with contextlib.suppress(PermissionError):  # it leads a session already
        os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    os.close(output)
