"""Describe the machine of a benchmark; figures mean nothing without it."""

import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.speed.environment import Environment

_SYNCS = 300


def describe(environment: Environment) -> dict[str, Any]:
    """Return the machine and the versions that all entries share."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "load at the beginning": f"{os.getloadavg()[0]:.1f}",
        "disk": _filesystem(environment.folder),
        "fsyncs per second": round(_syncs_per_second(environment.folder)),
        "Python": platform.python_version(),
        "database": environment.database.version,
        "Redis": f"{environment.redis.info('server')['redis_version']}, without persistence",
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    names = [line for line in text.splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.machine()


def _filesystem(folder: Path) -> str:
    """Return the file system of the servers' data; on tmpfs nothing is durable."""
    try:
        lines = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return "unknown"
    mounts = {place: kind for _, place, kind, *_ in map(str.split, lines)}
    return next(mounts[str(path)] for path in folder.parents if str(path) in mounts)


def _syncs_per_second(folder: Path) -> float:
    """Measure how often per second a block is written durably in the servers' folder."""
    descriptor = os.open(folder / "syncs", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, bytes(1 << 20))
        os.fsync(descriptor)
        began = time.perf_counter()
        for number in range(_SYNCS):
            os.pwrite(descriptor, bytes(8192), number % 128 * 8192)
            os.fdatasync(descriptor)
        return _SYNCS / (time.perf_counter() - began)
    finally:
        os.close(descriptor)
