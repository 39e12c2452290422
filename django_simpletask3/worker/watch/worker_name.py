"""Worker names: unique for ever, and enough to tell whether the process is still alive."""

from __future__ import annotations

import hashlib
import os
import platform
from functools import cache
from pathlib import Path

_PROC = Path("/proc")
_START_TIME_FIELD = 19  # of what follows the name in /proc/<pid>/stat


def worker_name(pid: int, token: str) -> str:
    """The name of process ``pid``: host name, process id, and its start time.

    Where the system has no ``/proc``, ``token`` stands for the start time.
    """
    mark = f"{_pid_namespace()}-{_stat(pid)[1]}" if _pid_namespace() else token
    return f"{platform.node()}:{pid}:{mark}"


def is_known_dead(worker: str) -> bool:
    """Whether the process named ``worker`` is certainly dead.

    Only a process of this machine, boot and process-id namespace can be known to be dead; False
    for all others, and where the system has no ``/proc``.
    """
    node, pid, mark = ([*worker.rsplit(":", 2), "", ""])[:3]
    namespace, _, start_time = mark.partition("-")
    is_here = node == platform.node() and namespace and namespace == _pid_namespace()
    if not is_here or not pid.isdigit():
        return False
    state, found = _stat(int(pid))
    return state in ("", "Z", "X") or found != start_time


def _stat(pid: int) -> tuple[str, str]:
    """The state of a process and its start time in clock ticks; empty if it does not exist."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", ""
    return fields[0], fields[_START_TIME_FIELD]


def _pid_namespace() -> str:
    """A digest of this boot and process-id namespace; '' if unknown."""
    return _pid_namespace_of(os.getpid())


@cache
def _pid_namespace_of(pid: int) -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = (_PROC / str(pid) / "ns/pid").readlink()
    except OSError:
        return ""
    return hashlib.sha256(f"{boot} {namespace}".encode()).hexdigest()[:8]
