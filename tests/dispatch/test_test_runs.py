"""``manage.py test`` of a project whose Redis is away, or that has none."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.projects import INVOICE, Project, sqlite

MODULE = """
import socket
import time
from unittest import mock

from django.test import TestCase, TransactionTestCase
from app.models import Invoice

SILENT = socket.create_server(("127.0.0.1", {port}))
SILENT.setblocking(False)


def attempts():
    number = 0
    while True:
        try:
            SILENT.accept()
        except BlockingIOError:
            return number
        number += 1


class Committed(TransactionTestCase):
    def test_redis_is_tried_once(self):
        for later in range(0, 100, 10):
            ahead = time.monotonic() + later
            with mock.patch("django_simpletask3.dispatch.push.time.monotonic", lambda: ahead):
                Invoice.objects.create().cancel()
        self.assertEqual(attempts(), {attempts})
        self.assertEqual(Invoice.objects.canceled().count(), 10)


class InATransaction(TestCase):
    def test_hooks_are_run(self):
        with self.captureOnCommitCallbacks(execute=True):
            Invoice.objects.create()
"""


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


PROGRAM = """
from django.conf import settings

settings.configure()

from django.test.utils import setup_test_environment, teardown_test_environment

from django_simpletask3.queue import is_in_test_run


def environment_is_enough():
    setup_test_environment()
    found = is_in_test_run()
    teardown_test_environment()
    return found


print(is_in_test_run(), environment_is_enough())
import django.test.runner
print(is_in_test_run(), environment_is_enough(), is_in_test_run())
"""


@pytest.mark.once
def test_a_process_that_only_imports_the_test_runner_runs_no_tests() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines() == ["False False", "False True False"]


@pytest.mark.once
@pytest.mark.parametrize("is_used", [True, False], ids=["away", "none"])
def test_a_test_run_without_redis_is_silent_and_waits_for_it_once(
    tmp_path: Path, free_port: int, is_used: bool
) -> None:
    url = f"redis://127.0.0.1:{free_port}/0" if is_used else "none://"
    project = Project(tmp_path, sqlite(tmp_path), url, "q")
    project.models(INVOICE)
    module = MODULE.replace("{port}", str(free_port)).replace("{attempts}", str(int(is_used)))
    project.write("app_tests.py", module)
    project.manage("makemigrations", "app")

    output = project.manage("test", "app_tests")

    assert "Ran 2 tests" in output
    assert "redis" not in output.lower()
    assert "WARNING" not in output
