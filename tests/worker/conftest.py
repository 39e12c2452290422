"""Real worker processes for the tests."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from django_simpletask3.worker.pipeline import ModelPipeline
from tests.testapp.models import Invoice
from tests.worker.steps import WORKER

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_server(transactional_db: None, redis_url: str) -> Iterator[Start]:
    """Start ``django-simpletask3-server`` with these arguments; it is killed after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "django", "django-simpletask3-server", *arguments]
        process = subprocess.Popen(
            command,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def pipeline(transactional_db: None, redis_url: str) -> ModelPipeline:
    """The pipeline of Invoice in a process with one thread for it."""
    return ModelPipeline(Invoice, 1, WORKER)


@pytest.fixture
def drain(start_server: Start) -> Callable[..., str]:
    """Run everything that is queued in a worker of its own; what the worker printed."""

    def drained(*arguments: str, **environment: str) -> str:
        process = start_server("--burst", "-v", "2", *arguments, **environment)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
        return output

    return drained
