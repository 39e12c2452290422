"""``python -m benchmarks.progress [--database postgres://user@host:port/name] [--calls 100000]``

What ``progress()`` costs a task function that works for 1 ms between two calls: processor time of
blocks of calls with it and without it, in turn in one run, and that of the background thread. The
medians of the blocks are compared, so that other load of the machine matters little. The exit code
is 1 if progress costs more than 2 %. The program starts a Redis of its own and makes a database
named ``test_<name>`` on the server of the URL.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.handovers import servers

_CALLS = 10  # of one block
_WORK_SECONDS = 0.001
_MAX_SHARE = 0.02


def _work(steps: int) -> None:
    for _ in range(steps):
        pass


def _steps_of_work() -> int:
    """How many steps of work take the time of one call."""
    steps = 100_000
    fastest = min(_seconds(partial(_work, steps)) for _ in range(20))
    return int(steps * _WORK_SECONDS / fastest)


def _seconds(work: Callable[[], None]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def _measure(blocks: int, steps: int) -> tuple[float, float]:
    """What the calls add to the work, and the share of a processor that the thread uses."""
    plain: list[float] = []
    reporting: list[float] = []

    def function(task: Any) -> None:
        for block in range(blocks):
            plain.append(_seconds(partial(_do_block, steps)))
            reporting.append(_seconds(partial(_do_reporting_block, steps, task, block, blocks)))

    background = _perform(function)
    calls = statistics.median(reporting) / statistics.median(plain) - 1
    return calls, background


def _do_block(steps: int) -> None:
    for _ in range(_CALLS):
        _work(steps)


def _do_reporting_block(steps: int, task: Any, block: int, blocks: int) -> None:
    for number in range(_CALLS):
        _work(steps)
        task.progress(block * _CALLS + number, blocks * _CALLS, "on the way")


def _perform(function: Any) -> float:
    """Call ``function`` as that of a task; the share of a processor that other threads use."""
    from benchmarks.speed.shop.models import Noop
    from django_simpletask3.execution.perform import perform
    from django_simpletask3.execution.run import Run
    from django_simpletask3.states import EventKind
    from django_simpletask3.transitions.writer import apply

    setattr(Noop, "do_task", function)  # noqa: B010 - a function of the benchmark
    task = Noop.objects.create(text="measured")
    apply(task, EventKind.START, worker="worker")
    run = Run(task, "worker")
    of_process, of_thread, began = time.process_time(), time.thread_time(), time.monotonic()
    perform(run)
    if run.error is not None:
        raise run.error
    seconds = (time.process_time() - of_process) - (time.thread_time() - of_thread)
    return seconds / (time.monotonic() - began)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.progress", description=__doc__)
    parser.add_argument(
        "--database", default="sqlite:///progress", help="also postgres://, mysql://"
    )
    parser.add_argument("--calls", type=int, default=100_000, help="(%(default)s)")
    arguments = parser.parse_args()
    with servers(arguments.database):
        steps = _steps_of_work()
        calls, background = _measure(arguments.calls // _CALLS, steps)
    print(f"{arguments.calls} calls of progress(), after 1 ms of work each: {calls:.2%}")
    print(f"the background thread: {background:.2%}")
    return int(calls + background > _MAX_SHARE)


if __name__ == "__main__":
    sys.exit(main())
