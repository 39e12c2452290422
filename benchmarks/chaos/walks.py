"""Walk through several scenarios at the same time, each in a process of its own.

Walks mostly wait for leases to end.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.chaos import processes
from benchmarks.chaos.environment import SetupError

_LOG_BYTES = 3000  # of a process that wrote no report


def run_side_by_side(options: argparse.Namespace, names: list[str]) -> dict[str, Any]:
    """Walk through the scenarios, ``options.jobs`` at a time; return one report of all."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(options.jobs) as pool,
        _Walks(options, Path(folder)) as walks,
    ):
        return _merged(list(pool.map(walks.run, names)))


class _Walks:
    """The processes of the walks; those that run are ended on exit."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_ended = False

    def __enter__(self) -> "_Walks":
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ended = True
        for process in list(self._running):
            process.terminate()

    def run(self, name: str) -> dict[str, Any]:
        """Walk through one scenario; return its report."""
        path, log = self._folder / f"{name}.json", self._folder / f"{name}.log"
        with log.open("wb") as output, self._started(name, path, output) as process:
            process.wait()
        if not path.exists():
            tail = log.read_bytes()[-_LOG_BYTES:].decode(errors="replace")
            raise SetupError(f"{name} ended without a report:\n{tail}")
        found: dict[str, Any] = json.loads(path.read_text())
        print(f"{name}: {found['scenarios'][name]['crashes']} crashes", flush=True)
        return found

    @contextmanager
    def _started(self, name: str, path: Path, output: Any) -> Iterator[subprocess.Popen[bytes]]:
        if self._is_ended:
            raise SetupError("interrupted")
        process = subprocess.Popen(
            self._command(name, path),
            cwd=processes.ROOT,
            env=_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        self._running.add(process)
        try:
            yield process
        finally:
            self._running.discard(process)

    def _command(self, name: str, path: Path) -> list[str]:
        given = {
            "--scenarios": name,
            "--json": path,
            "--database": self._options.database,
            "--every": self._options.every,
            "--seed": self._options.seed,
            **({"--lease": self._options.lease} if self._options.lease else {}),
        }
        arguments = [str(part) for option in given.items() for part in option]
        return [sys.executable, "-m", "benchmarks.chaos", "crash-points", *arguments]


def _environment() -> dict[str, str]:
    """Return the environment without what names the folder and the database of this process."""
    return {name: os.environ[name] for name in os.environ if name != "SIMPLETASK3_TEST_RUN"}


def _merged(reports: list[dict[str, Any]]) -> dict[str, Any]:
    scenarios: dict[str, Any] = {}
    violations: dict[str, Any] = {}
    for found in reports:
        scenarios.update(found["scenarios"])
        if found["violations"] != "none":
            violations.update(
                {
                    f"{kind} in {name}": v
                    for kind, v in found["violations"].items()
                    for name in found["scenarios"]
                }
            )
    return {
        "machine": reports[0]["machine"],
        "scenarios": scenarios,
        "violations": violations or "none",
    }
