"""The module that the fork server preloads: Django and everything nodes and producers need.

A run starts thousands of processes. Loading Django for each of them would take processor time from
the workers; a fork of a process without threads and connections is cheap.
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
from django_simpletask3.worker.node import supervisor  # noqa: E402


def run_node(log: Path, host: str, *arguments: str) -> None:
    """Run ``manage.py django-simpletask3-server`` under the host name ``host``."""
    _start_session(log)
    # Processes of another host do not check whether its workers are alive.
    platform.node = lambda: host
    execute_from_command_line(["manage.py", "django-simpletask3-server", *arguments])


def run_node_of_arguments() -> None:
    """Run a node with the log, the host name and the arguments of the command line."""
    log, host, *arguments = sys.argv[1:]
    package = Path(__file__).parents[2] / "django_simpletask3"
    if Path(str(supervisor.__file__)).is_relative_to(package):
        raise SystemExit("this is the package of this checkout, and not the earlier one")
    run_node(Path(log), host, *arguments)


def run_producer(log: Path, seed: int) -> None:
    """Run a producer of tasks."""
    _start_session(log)
    producers.main(seed)


def _start_session(log: Path) -> None:
    with contextlib.suppress(PermissionError):  # it leads a session already
        os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    os.close(output)
