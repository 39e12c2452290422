"""``manage.py django-simpletask3-server``: run a worker node."""

from __future__ import annotations

import logging
import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import CommandError, OutputWrapper

from ...logs import TerminalFormatter, get_logger
from ...models.task import SimpleTask
from ...worker.node.banner import banner, show_progress
from ...worker.node.child import flush_streams, redirect_to_nowhere
from ...worker.node.heartbeat_file import LivenessFile
from ...worker.node.status import Node
from ...worker.node.supervisor import Supervisor
from ..arguments import select_models, select_queues
from ..database_command import DatabaseCommand
from ..preconditions import check_databases, check_process
from ..schema_check import require_schema

_logger = get_logger(f"{__package__}.server")
_LEVELS = {0: logging.ERROR, 1: logging.WARNING, 2: logging.INFO, 3: logging.DEBUG}


class Command(DatabaseCommand):
    """Run a worker node for the tasks of the project."""

    help = "Starts a worker node, which runs the project's tasks until SIGTERM or SIGINT."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--processes", type=int, default=1, help="The number of child processes. Defaults to 1."
        )
        parser.add_argument(
            "--models",
            action="append",
            metavar="APP.MODEL",
            help="Restricts the node to these task models. Repeat it, or use commas.",
        )
        parser.add_argument(
            "--queues",
            action="append",
            metavar="NAME",
            help="Restricts the node to these queues of TASKS. Repeat it, or use commas; --models "
            "adds models to them.",
        )
        parser.add_argument(
            "--heartbeat-file",
            type=Path,
            metavar="PATH",
            help="Rewrites this file every two seconds while the node is healthy, for probes.",
        )
        parser.add_argument("--burst", action="store_true", help="Exits when no task is due.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["processes"] < 1:
            raise CommandError("--processes must be 1 or more.")
        self._open_closed_streams()
        models = _select(options["models"], options["queues"])
        check_process(models)
        if options["burst"]:
            check_databases(models)
        _log_to_stderr(_LEVELS[options["verbosity"]])
        if options["verbosity"]:
            self._print(banner(models, options["processes"], burst=options["burst"]))
        require_schema(models)
        progress_line = show_progress(sys.stdout) if options["verbosity"] else None
        heartbeat = _heartbeat(options["heartbeat_file"])
        supervisor = Supervisor(
            models,
            processes=options["processes"],
            burst=options["burst"],
            on_tick=lambda node: _tick(node, progress_line, heartbeat),
        )
        code = supervisor.run()
        if heartbeat is not None:
            heartbeat.remove()
        if progress_line is not None:
            self._print("")  # ends the progress line
        if options["verbosity"]:
            counts = supervisor.node().counts
            self._print("stopped: " + ", ".join(f"{n} {k}" for k, n in counts.items()))
        if code:
            sys.exit(code)

    def _open_closed_streams(self) -> None:
        """Let a node whose stdout or stderr was closed (``>&-``) write into nothing."""
        if sys.stdout is None:
            sys.stdout = _open_nowhere()
            self.stdout = OutputWrapper(sys.stdout)
        if sys.stderr is None:
            sys.stderr = _open_nowhere()
            self.stderr = OutputWrapper(sys.stderr)

    def _print(self, text: str) -> None:
        try:
            self.stdout.write(text)
        except OSError:  # its reader has gone away
            redirect_to_nowhere(sys.stdout)
        flush_streams()


def _select(labels: list[str] | None, queues: list[str] | None) -> list[type[SimpleTask]]:
    if not queues:
        return select_models(labels)
    chosen = [*select_queues(queues), *(select_models(labels) if labels else ())]
    return list(dict.fromkeys(chosen))


def _open_nowhere() -> TextIO:
    return Path(os.devnull).open("w")


def _heartbeat(path: Path | None) -> LivenessFile | None:
    if path is None:
        return None
    if not path.parent.is_dir() or path.is_dir() or not os.access(path.parent, os.W_OK):
        raise CommandError(
            f"--heartbeat-file {path} cannot be written: name a file in a writable folder."
        )
    return LivenessFile(path.absolute())


def _tick(
    node: Node, show_progress: Callable[[Node], None] | None, heartbeat: LivenessFile | None
) -> None:
    if show_progress is not None:
        try:
            show_progress(node)
        except OSError:  # the terminal was closed
            redirect_to_nowhere(sys.stdout)
    if heartbeat is not None:
        try:
            heartbeat.write(node)
        except OSError as error:
            _logger.error("heartbeat_not_written error=%s", error)


def _log_to_stderr(level: int) -> None:
    """Log to stderr, unless the project's LOGGING configures handlers."""
    logger = logging.getLogger("django_simpletask3")
    if logger.handlers or logging.getLogger().handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(TerminalFormatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(level)
