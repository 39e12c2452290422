"""A record of a forked process is seen, although the thread that read the log queue is gone."""

import subprocess
import sys

import pytest

from tests.project.sources import ROOT

SCRIPT = """
import logging, multiprocessing, os, queue, sys, threading
from logging.handlers import QueueHandler, QueueListener

from django_simpletask3.worker.node.log_queues import replace_unread_queues

def read(records):
    while True:
        print("read by a thread:", records.get().getMessage(), flush=True)

def start(target, *args):
    threading.Thread(target=target, args=args, daemon=True).start()

records = queue.Queue()
handler = logging.StreamHandler(sys.stdout)
handler.setFormatter(logging.Formatter("handled %(message)s"))
{setup}
logging.getLogger({name!r}).addHandler(QueueHandler(records))
pid = os.fork()
if not pid:
    replace_unread_queues()
    logging.getLogger("app").error("in the child")
    {wait}
    sys.stdout.flush()
    os._exit(0)
os.waitpid(pid, 0)
os._exit(0)
"""
LISTENER = "listener = QueueListener(records, handler); listener.start()"
THREAD = "start(read, records)"
RESTARTED = f"os.register_at_fork(after_in_child=lambda: start(read, records)); {THREAD}"
#: The first record wakes the reader that the fork has lost.
AGAIN = 'logging.getLogger("app").error("in the child"); threading.Event().wait(0.3)'


def outputs(setup: str, name: str | None = None, wait: str = "pass") -> tuple[str, str]:
    script = SCRIPT.format(setup=setup, name=name, wait=wait)
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return run.stdout, run.stderr


@pytest.mark.parametrize("name", [None, "app"])
def test_the_handlers_of_the_listener_are_called_in_the_child(name: str | None) -> None:
    stdout, _ = outputs(LISTENER, name)

    assert stdout.count("handled in the child") == 1


def test_it_is_noticed() -> None:
    stdout, _ = outputs(LISTENER)

    assert "handled log_queue_unread loggers=root" in stdout


def test_without_a_known_listener_records_go_to_stderr() -> None:
    _, stderr = outputs(THREAD)

    assert "WARNING log_queue_unread loggers=root" in stderr
    assert "ERROR in the child" in stderr


def test_a_listener_that_is_started_after_each_fork_is_left_alone() -> None:
    stdout, stderr = outputs(RESTARTED, wait=AGAIN)

    assert "read by a thread: in the child" in stdout
    assert "log_queue_unread" not in stdout + stderr


def test_a_queue_that_another_process_reads_is_left_alone() -> None:
    setup = "records = multiprocessing.Queue(); start(read, records)"

    stdout, stderr = outputs(setup)

    assert "log_queue_unread" not in stdout + stderr
