"""Processor time, memory and sockets of a process and all its descendants."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICK = os.sysconf("SC_CLK_TCK")
_GONE = (FileNotFoundError, ProcessLookupError)


@dataclass(frozen=True)
class Memory:
    """Memory in megabytes; ``pss`` divides shared pages, ``rss`` counts them in each process."""

    rss: float
    pss: float


def family(pid: int) -> Iterator[int]:
    """Yield the pids of the process and its running descendants."""
    yield pid
    with suppress(*_GONE):
        for thread in list((_PROC / str(pid) / "task").iterdir()):
            with suppress(*_GONE):
                for child in (thread / "children").read_text().split():
                    yield from family(int(child))


def seconds(pid: int) -> float:
    """Return the processor time of the family, including its ended members."""
    used = 0.0
    for member in family(pid):
        with suppress(*_GONE):
            # After the name, which may contain anything: state is field 1, utime field 12.
            fields = (_PROC / str(member) / "stat").read_text().rpartition(")")[2].split()
            used += sum(map(int, fields[11:15])) / _TICK
    return used


def memory(pid: int) -> Memory:
    """Return the current memory of the family."""
    totals = {"Rss:": 0, "Pss:": 0}
    for member in family(pid):
        with suppress(*_GONE):
            for line in (_PROC / str(member) / "smaps_rollup").read_text().splitlines():
                name, *rest = line.split()
                if name in totals:
                    totals[name] += int(rest[0])
    return Memory(totals["Rss:"] / 1024, totals["Pss:"] / 1024)


def connections(pid: int) -> int:
    """Return the number of open sockets of the family."""
    found = 0
    for member in family(pid):
        with suppress(*_GONE):
            for descriptor in list((_PROC / str(member) / "fd").iterdir()):
                with suppress(*_GONE):
                    found += str(descriptor.readlink()).startswith("socket:")
    return found
