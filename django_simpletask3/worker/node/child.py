"""The main function of a child process, from the fork to its exit code."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import signal
import sys
from typing import NoReturn

from ...logs import get_logger
from ..loop import StopRequest
from ..process import Process, ProcessPlan
from ..watch.exits import publish_exits
from .counters import Counters
from .log_queues import replace_unread_queues

_logger = get_logger(__name__)

CLEAN, FAILED, FORCED = 0, 1, 3
REPLACE = 4  # tells the supervisor to start a new child

#: The signals that a supervisor sends to its children; blocked around the fork.
HANDLED_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}


def child_main(plan: ProcessPlan, worker: str, counters: Counters) -> NoReturn:
    """Run a child process and exit; never returns into the code of the parent."""
    code = FAILED
    try:
        signal.set_wakeup_fd(-1)
        stop = StopRequest()
        # A terminal sends SIGINT to the whole group; the supervisor forwards it as SIGTERM.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, lambda *_: stop.request())
        signal.signal(signal.SIGQUIT, lambda *_: stop.force())
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
        code = FAILED if process.has_failed else REPLACE if process.must_be_replaced else CLEAN
    except BaseException:
        _logger.exception("child_failed worker=%s", worker)
    finally:
        plan.activity.set_ended()
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        # Task functions that still run would keep the interpreter from exiting.
        os._exit(code)
