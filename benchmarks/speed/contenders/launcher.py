"""Run the worker of a peer as this process, or as several processes that end with it."""

import os
import signal
import subprocess
from collections.abc import Sequence


def exec_worker(command: Sequence[str], copies: int = 1) -> None:
    """Replace this process by ``command``, or manage several processes of it."""
    if copies == 1:
        os.execv(command[0], list(command))
    members = [subprocess.Popen(command) for _ in range(copies)]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _end(members))
    for member in members:
        member.wait()


def _end(members: Sequence[subprocess.Popen[bytes]]) -> None:
    for member in members:
        member.terminate()
