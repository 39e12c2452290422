"""One storm and some walks for all tests here, each in a process of its own, all at once.

They take a minute and want the machine for themselves: ``make test`` leaves this folder out (see
norecursedirs in pyproject.toml), ``make chaos-test`` and the gate run it alone. On the database of
SIMPLETASK3_TEST_DATABASE.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.conftest import missing
from tests.redis_servers import executable

ROOT = Path(__file__).resolve().parents[2]
STORM = ["--minutes", "1", "--seed", "20", "--rate", "5", "--lease", "2.5"]
STORM += ["--baseline", "0", "--probes", "2"]
#: The way of a task, every step of it (the slow one in three parts); of the ways around it, every
#: n-th: which ways, the first step, and n.
WALKS = (
    ("burst_node", 1, 3),
    ("burst_node", 2, 3),
    ("burst_node", 3, 3),
    ("burst_child", 1, 1),
    ("producer,deaf_producer,deaf_node", 1, 5),
    ("recoverer,deaf_recoverer,retried", 1, 7),
    ("waiting_node,stopped_node", 1, 10),
)

Report = dict[str, Any]


class Run:
    """``python -m benchmarks.chaos`` with its report."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.json = folder / "report.json"
        common = ["--database", settings.DATABASE_URL, "--json", str(self.json)]
        command = [sys.executable, "-m", "benchmarks.chaos", *arguments, *common]
        hidden = ("SIMPLETASK3_TEST_RUN", "SIMPLETASK3_TEST_DATABASE", "DJANGO_SETTINGS_MODULE")
        environment = {name: os.environ[name] for name in os.environ if name not in hidden}
        self.log = folder / "log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
            )

    def report(self) -> Report:
        self.process.wait(timeout=400)
        assert self.json.exists(), self.log.read_text(errors="replace")[-5000:]
        found: Report = json.loads(self.json.read_text())
        return found

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Run]]:
    """Everything at once, the storm first: most of it is waiting for leases."""
    if executable() is None:
        missing("redis-server")
    started = [Run(tmp_path_factory.mktemp("storm"), "storm", *STORM)]
    for ways, first, every in WALKS:
        steps = ["--first", str(first), "--every", str(every)]
        folder = tmp_path_factory.mktemp("walk")
        started.append(Run(folder, "walk", "--ways", ways, *steps))
    yield started
    for run in started:
        run.end()


@pytest.fixture(scope="session")
def storm(runs: list[Run], pytestconfig: pytest.Config) -> Report:
    """What the storm left."""
    report = runs[0].report()
    pytestconfig.stash[_FIGURES] = report
    return report


@pytest.fixture(scope="session")
def walks(runs: list[Run]) -> list[Report]:
    """What the walks found."""
    return [run.report() for run in runs[1:]]


@pytest.fixture(scope="session")
def deaths(walks: list[Report]) -> Counter[str]:
    """How many steps of each way were the last."""
    found: Counter[str] = Counter()
    for report in walks:
        found.update({way: reported["deaths"] for way, reported in report["ways"].items()})
    return found


_FIGURES = pytest.StashKey[Report]()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print how soon the tasks of the dead went on; no machine guarantees a speed."""
    report = config.stash.get(_FIGURES, None)
    if report is None:
        return
    killed, tasks = report["faults"]["processes killed"], report["tasks"]["tasks"]
    terminalreporter.write_line(f"chaos: {killed} processes killed, {tasks} tasks")
    for section in ("given back after a kill, seconds", "redelivery in calm weather, seconds"):
        for name, found in report[section].items():
            if found["count"] and "limit" in found:
                figures = ", ".join(f"{word} {found[word]}" for word in ("count", "p50", "max"))
                limit = f"limit {found['limit']}, above {found['above']}"
                terminalreporter.write_line(f"chaos: {section}: {name}: {figures}, {limit}")
