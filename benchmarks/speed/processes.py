"""What the kernel says of a process and all its descendants: processor time and memory."""

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
    """In megabytes. Of what several share each has its part in ``pss``, and all in ``rss``."""

    rss: float
    pss: float


def family(pid: int) -> Iterator[int]:
    """The process and its descendants, if it lives."""
    yield pid
    with suppress(*_GONE):
        for thread in list((_PROC / str(pid) / "task").iterdir()):
            with suppress(*_GONE):
                for child in (thread / "children").read_text().split():
                    yield from family(int(child))


def seconds(pid: int) -> float:
    """Processor time of the family, that of members who are gone included."""
    used = 0.0
    for member in family(pid):
        with suppress(*_GONE):
            # After the name, which may hold anything: state is the first, utime the twelfth.
            fields = (_PROC / str(member) / "stat").read_text().rpartition(")")[2].split()
            used += sum(map(int, fields[11:15])) / _TICK
    return used


def memory(pid: int) -> Memory:
    """What the family holds now."""
    totals = {"Rss:": 0, "Pss:": 0}
    for member in family(pid):
        with suppress(*_GONE):
            for line in (_PROC / str(member) / "smaps_rollup").read_text().splitlines():
                name, *rest = line.split()
                if name in totals:
                    totals[name] += int(rest[0])
    return Memory(totals["Rss:"] / 1024, totals["Pss:"] / 1024)


def connections(pid: int) -> int:
    """How many sockets the family holds open."""
    found = 0
    for member in family(pid):
        with suppress(*_GONE):
            for descriptor in list((_PROC / str(member) / "fd").iterdir()):
                with suppress(*_GONE):
                    found += str(descriptor.readlink()).startswith("socket:")
    return found
