"""The names of workers: unique for ever, and telling whether their process still lives."""

from __future__ import annotations

import hashlib
import os
import platform
from functools import cache
from pathlib import Path

_PROC = Path("/proc")
_START_TIME_FIELD = 19  # of what follows the name in /proc/<pid>/stat


def worker_name(pid: int, token: str) -> str:
    """The name of the process ``pid`` of this machine: node, process id, and its birth.

    Where the system does not tell births, ``token`` stands for it.
    """
    mark = f"{_pid_namespace()}-{_stat(pid)[1]}" if _pid_namespace() else token
    return f"{platform.node()}:{pid}:{mark}"


def is_known_dead(worker: str) -> bool:
    """Whether the process called ``worker`` is certainly gone.

    Only a process of this very machine, boot and process-id namespace can be known to be dead; of
    all others, and where the system does not tell births, nothing is known.
    """
    node, pid, mark = ([*worker.rsplit(":", 2), "", ""])[:3]
    space, _, birth = mark.partition("-")
    if node != platform.node() or not space or space != _pid_namespace() or not pid.isdigit():
        return False
    state, found = _stat(int(pid))
    return state in ("", "Z", "X") or found != birth


def _stat(pid: int) -> tuple[str, str]:
    """The state of a process and when it began, in ticks of the machine; empty if there is none."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", ""
    return fields[0], fields[_START_TIME_FIELD]


def _pid_namespace() -> str:
    """This boot and namespace, in which a process id means one process at a time; '' if unknown."""
    return _pid_namespace_of(os.getpid())


@cache
def _pid_namespace_of(pid: int) -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = (_PROC / str(pid) / "ns/pid").readlink()
    except OSError:
        return ""
    return hashlib.sha256(f"{boot} {namespace}".encode()).hexdigest()[:8]
