"""The program of ``task_worker``'s child process: a node on the databases of a test."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path


def main() -> None:
    """Read from stdin what the test process uses, and run ``django-simpletask3-server`` on it."""
    request = json.loads(sys.stdin.buffer.readline())
    _watch_test_process(os.getpid(), Path(request["folder"]))

    import django
    from django.core.management import call_command
    from django.db import connections
    from django.test import override_settings

    for alias, values in request["databases"].items():
        connections.settings[alias].update(values)
    django.setup()
    override_settings(**request["settings"]).enable()
    call_command("django-simpletask3-server", *request["arguments"])


def _watch_test_process(node: int, folder: Path) -> None:
    """Let another process kill the node, and clear up, if the test process ends without doing so.

    Not a thread of this one, which will fork; and no child of it, which it would wait for.
    """
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork() == 0:
        _await_end(node, folder)
    os._exit(0)


def _await_end(node: int, folder: Path) -> None:
    if sys.stdin.buffer.readline():  # the node was ended by the test process
        return
    with suppress(ProcessLookupError):
        os.killpg(node, signal.SIGKILL)
    from django_simpletask3.queue import embedded

    embedded.stop(folder / "redis")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
