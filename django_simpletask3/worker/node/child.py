"""The life of a child process, from the fork to its exit code."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from typing import NoReturn

from ..loop import StopRequest
from ..process import Process, ProcessPlan
from .counters import Counters

_logger = logging.getLogger(__name__)

CLEAN, FAILED, FORCED = 0, 1, 3
REPLACE = 4  # between a child and its supervisor only

#: What a supervisor says to its children; blocked around the fork.
HANDLED_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}


def child_main(plan: ProcessPlan, worker: str, counters: Counters) -> NoReturn:
    """The whole life of a child process; it never returns into its parent's code."""
    code = FAILED
    try:
        signal.set_wakeup_fd(-1)
        stopping = StopRequest()
        # A terminal sends SIGINT to the whole group; only the supervisor speaks to its children.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, lambda *_: stopping.request())
        signal.signal(signal.SIGQUIT, lambda *_: stopping.force())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)
        # What is there now stays: the garbage collector need not look at it again and again, which
        # took a tenth of the time of short tasks.
        gc.freeze()
        process = Process(plan, worker=worker, stopping=stopping, counters=counters)
        process.run()
        code = FAILED if process.has_failed else REPLACE if process.must_be_replaced else CLEAN
    except BaseException:
        _logger.exception("child_failed worker=%s", worker)
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        # Bodies that did not end in time would keep the interpreter from exiting.
        os._exit(code)
