"""What the system knows of the threads of another process; nothing where it has no ``/proc``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_STATE = 0  # of what follows the name in /proc/<pid>/stat
_VOLUNTARY = "voluntary_ctxt_switches:"
_NANOSECONDS = 1e9


@dataclass(frozen=True, slots=True)
class ThreadSample:
    """One thread at one moment.

    ``used`` are the seconds of processor time, ``delayed`` the seconds in which it could run and
    had no processor, ``waits`` how often it began to wait for something.
    """

    state: str
    used: float
    delayed: float
    waits: int

    @property
    def is_stopped(self) -> bool:
        """Whether a signal or a debugger has stopped it."""
        return self.state in "Tt"


Samples = Mapping[int, ThreadSample]


def sample_threads(pid: int) -> Samples:
    """The threads of process ``pid`` by the system's ids; empty if they cannot be read."""
    try:
        folders = list((_PROC / str(pid) / "task").iterdir())
    except OSError:
        return {}
    samples = {int(folder.name): _sample(folder) for folder in folders}
    return {thread: sample for thread, sample in samples.items() if sample is not None}


def _sample(folder: Path) -> ThreadSample | None:
    try:
        state = (folder / "stat").read_text().rpartition(")")[2].split()[_STATE]
        used, delayed = (folder / "schedstat").read_text().split()[:2]
        status = (folder / "status").read_text().splitlines()
    except (OSError, IndexError, ValueError):
        return None
    waits = next((line.split()[1] for line in status if line.startswith(_VOLUNTARY)), "0")
    return ThreadSample(state, int(used) / _NANOSECONDS, int(delayed) / _NANOSECONDS, int(waits))
