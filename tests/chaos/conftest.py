"""One storm and some walks for all tests here, each in a process of its own, all at once.

They want the machine for themselves, so they run when SIMPLETASK3_TEST_CHAOS says so only.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.redis_servers import executable

ROOT = Path(__file__).resolve().parents[2]
STORM = ["--minutes", "0.33", "--seed", "20", "--nodes", "2", "--lease", "2.5"]
STORM += ["--baseline", "0", "--probes", "1"]
#: The way of a task, every step of it; of the ways around it, every n-th.
WALKS = {
    "burst_child": "1",
    "burst_node": "1",
    "producer,deaf_producer": "3",
    "deaf_node,waiting_node,recoverer,stopped_node": "7",
}

collect_ignore_glob = [] if os.environ.get("SIMPLETASK3_TEST_CHAOS") else ["test_*.py"]

Report = dict[str, Any]


class Run:
    """``python -m benchmarks.chaos`` with its report."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.json = folder / "report.json"
        command = [sys.executable, "-m", "benchmarks.chaos", *arguments, "--json", str(self.json)]
        hidden = ("SIMPLETASK3_TEST_RUN", "SIMPLETASK3_TEST_DATABASE", "DJANGO_SETTINGS_MODULE")
        environment = {name: os.environ[name] for name in os.environ if name not in hidden}
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""

    def report(self) -> Report:
        self.output, _ = self.process.communicate(timeout=240)
        assert self.json.exists(), self.output
        found: Report = json.loads(self.json.read_text())
        return found

    def end(self) -> None:
        self.process.terminate()
        self.process.communicate()


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """Everything at once: most of it is waiting for leases."""
    if executable() is None:
        missing("redis-server")
    started = {"storm": Run(tmp_path_factory.mktemp("storm"), "storm", *STORM)}
    for ways, every in WALKS.items():
        folder = tmp_path_factory.mktemp("walk")
        started[ways] = Run(folder, "walk", "--ways", ways, "--every", every)
    yield started
    for run in started.values():
        run.end()


@pytest.fixture(scope="session")
def storm(runs: dict[str, Run]) -> Report:
    """What the storm left."""
    return runs["storm"].report()


@pytest.fixture(scope="session")
def walks(runs: dict[str, Run]) -> dict[str, Report]:
    """What the walks found."""
    return {ways: runs[ways].report() for ways in WALKS}
