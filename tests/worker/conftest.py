"""Real worker processes for the tests."""

import contextlib
import inspect
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from django_simpletask3.worker.pipeline import ModelPipeline
from tests.eventually import eventually
from tests.forked import django_process
from tests.testapp.models import Invoice, Scripted
from tests.testapp.scripts import STEPS
from tests.worker.steps import WORKER

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_server(transactional_db: None, redis_url: str) -> Iterator[Start]:
    """Start ``django-simpletask3-server`` with these arguments; it is killed after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
        process = django_process("django-simpletask3-server", *arguments, **environment)
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@dataclass
class Begun:
    """A task whose function has come to its step, and the node that runs it."""

    task: Scripted
    node: "subprocess.Popen[str]"
    ended: Path  # the file that the step creates, or waits for

    def row(self) -> Scripted:
        """The task, as another process loads it."""
        return Scripted.objects.get(pk=self.task.pk)

    def end_node(self) -> float:
        """Stop the node, which must end in order; the seconds that it took."""
        began = time.monotonic()
        self.node.send_signal(signal.SIGTERM)
        output, _ = self.node.communicate(timeout=60)
        assert self.node.returncode == 0, output
        return time.monotonic() - began


Begin = Callable[..., Begun]


@pytest.fixture
def begin(start_server: Start, tmp_path: Path) -> Begin:
    """Start a node and a task whose first attempt takes this step, until it has come to it."""

    def begun(do: str, *, before: Any = (), environment: Any = None, **arguments: Any) -> Begun:
        here, ended = tmp_path / "here", tmp_path / "ended"
        if "path" in inspect.signature(STEPS[do]).parameters:
            arguments["path"] = str(ended)
        steps = [*before, {"do": "touch", "path": str(here)}]
        task = Scripted.objects.create(script=[*steps, {"do": do, "attempt": 1, **arguments}])
        node = start_server("--models", "testapp.Scripted", **(environment or {}))
        eventually(here.exists)
        return Begun(task, node, ended)

    return begun


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
