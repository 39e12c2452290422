"""The main function of a child process, from the fork to its exit code."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn, TextIO

from ...logs import get_logger
from ..loop import StopRequest
from ..process import Process, ProcessPlan
from ..watch.exits import publish_exits
from .counters import Counters
from .descendants import ignore_interrupts, kill_descendants, restore_signals_after_fork
from .log_queues import replace_unread_queues

_logger = get_logger(__name__)

CLEAN, FAILED, FORCED = 0, 1, 3
REPLACE = 4  # tells the supervisor to start a new child
GAVE_UP = 5  # a burst that a database does not let end

#: The signals that a supervisor sends to its children; blocked around the fork.
HANDLED_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}


def child_main(plan: ProcessPlan, worker: str, counters: Counters) -> NoReturn:
    """Run a child process and exit; never returns into the code of the parent."""
    code, supervisor = FAILED, os.getppid()
    try:
        signal.set_wakeup_fd(-1)
        stop = StopRequest()
        # A terminal sends SIGINT to the whole group; the supervisor forwards it as SIGTERM.
        # A terminal that closes does the same with SIGHUP.
        ignore_interrupts()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, lambda *_: stop.request())
        signal.signal(signal.SIGQUIT, lambda *_: stop.force())
        restore_signals_after_fork()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)
        replace_unread_queues()  # while this process has no other thread of its own
        plan.activity.start_beats()
        publish_exits(plan.activity)
        if plan.traces is not None:
            faulthandler.enable(plan.traces)
        # Objects that exist now stay: exempt from the garbage collector, which took a tenth of the
        # time of short tasks.
        gc.freeze()
        process = Process(plan, worker=worker, stop=stop, counters=counters)
        process.run()
        code = _exit_code(process)
    except BaseException:
        _logger.exception("child_failed worker=%s", worker)
    finally:
        plan.activity.set_ended()
        if os.getppid() != supervisor:  # which would do it
            kill_descendants(signal.SIGKILL)
        logging.shutdown()
        flush_streams()
        # Task functions that still run would keep the interpreter from exiting.
        os._exit(code)


def _exit_code(process: Process) -> int:
    if process.has_failed:
        return FAILED
    if process.has_given_up:
        return GAVE_UP
    return REPLACE if process.must_be_replaced else CLEAN


def flush_streams() -> None:
    """Flush stdout and stderr; a reader that has gone away is not missed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            redirect_to_nowhere(stream)


def redirect_to_nowhere(stream: TextIO) -> None:
    """Let what is written to ``stream`` from now on go to /dev/null, and succeed."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
