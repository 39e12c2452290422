"""Packages that note who did something find who enqueued the task, while its body runs."""

import os
import subprocess
import sys

import pytest

from tests.project.sources import ROOT

INSIDE = ROOT / "tests" / "execution" / "auditing_packages" / "scenario.py"


@pytest.mark.one_server
def test_what_happens_where_they_are_installed() -> None:
    own = {"DJANGO_SETTINGS_MODULE": "tests.execution.auditing_packages.settings"}
    environment = {**os.environ, **own}
    del environment["SIMPLETASK3_TEST_RUN"]  # a run of its own: databases, folder and Redis
    # django-pghistory puts a command in front of others, which cannot be prepared together.
    database = environment.get("SIMPLETASK3_TEST_DATABASE", "sqlite").removesuffix("?prepared")
    environment["SIMPLETASK3_TEST_DATABASE"] = database
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-cov", INSIDE]

    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
