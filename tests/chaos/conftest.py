"""One run of random faults and some of crash points for all tests here, all at the same time.

They take a minute and need the whole machine: ``make test`` leaves this folder out (see
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
RANDOM_FAULTS = ["--minutes", "1", "--seed", "20", "--rate", "5", "--lease", "2.5"]
RANDOM_FAULTS += ["--baseline", "0", "--probes", "2"]
#: The scenarios of a whole task are crashed at every step, and all scenarios at some;
#: ``make walks`` crashes all of them at every step. Another seed chooses other steps.
SEED = os.environ.get("SIMPLETASK3_CHAOS_SEED", "1")
CRASH_POINTS = (
    ["--scenarios", "killed_node,killed_child", "--jobs", "2"],
    ["--every", "16", "--seed", SEED, "--jobs", "6"],
)

#: Seconds for a whole run. A slow machine takes several times the two minutes of a fast one.
_TIMEOUT = 900

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
        self.process.wait(timeout=_TIMEOUT)
        assert self.json.exists(), self.log.read_text(errors="replace")[-5000:]
        found: Report = json.loads(self.json.read_text())
        return found

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Run]]:
    """Start all runs at the same time, since they mostly wait for leases."""
    if executable() is None:
        missing("redis-server")
    started = [Run(tmp_path_factory.mktemp("faults"), "random-faults", *RANDOM_FAULTS)]
    for options in CRASH_POINTS:
        started.append(Run(tmp_path_factory.mktemp("crash"), "crash-points", *options))
    yield started
    for run in started:
        run.end()


@pytest.fixture(scope="session")
def random_faults(runs: list[Run], pytestconfig: pytest.Config) -> Report:
    """The report of the random faults."""
    report = runs[0].report()
    pytestconfig.stash[_FIGURES] = report
    return report


@pytest.fixture(scope="session")
def crash_points(runs: list[Run]) -> list[Report]:
    """The reports of the crash points."""
    return [run.report() for run in runs[1:]]


@pytest.fixture(scope="session")
def crashes(crash_points: list[Report]) -> Counter[str]:
    """How often each scenario crashed."""
    found: Counter[str] = Counter()
    for report in crash_points:
        found.update({name: figures["crashes"] for name, figures in report["scenarios"].items()})
    return found


_FIGURES = pytest.StashKey[Report]()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print how soon the tasks of killed workers were recovered; delays fail no test."""
    report = config.stash.get(_FIGURES, None)
    if report is None:
        return
    killed, tasks = report["faults"]["processes killed"], report["tasks"]["tasks"]
    terminalreporter.write_line(f"chaos: {killed} processes killed, {tasks} tasks")
    for section in ("recovered after a kill, seconds", "redelivery without faults, seconds"):
        for name, found in report[section].items():
            if found["count"] and "limit" in found:
                figures = ", ".join(
                    f"{figure} {found[figure]}" for figure in ("count", "p50", "max")
                )
                limit = f"limit {found['limit']}, above {found['above']}"
                terminalreporter.write_line(f"chaos: {section}: {name}: {figures}, {limit}")
