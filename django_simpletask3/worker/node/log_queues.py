"""Notice log queues that no thread reads after a fork, and log without them."""

from __future__ import annotations

import gc
import logging
import queue
import threading
from collections.abc import Iterator
from logging.handlers import QueueHandler, QueueListener

from ...logs import TerminalFormatter, get_logger

_logger = get_logger(__name__)


def replace_unread_queues() -> None:
    """In a process that was just forked: replace each QueueHandler whose listener did not survive.

    A listener is a thread, and threads end with a fork: its queue would keep every record, and no
    record would be seen. Its handlers are called directly instead, or stderr is used if they are
    not known. A project that starts a listener after each fork has a thread by now.
    """
    if threading.active_count() > 1:
        return
    names = []
    for logger in _all_loggers():
        for handler in filter(_is_unread, logger.handlers.copy()):
            logger.removeHandler(handler)
            for replacement in _handlers_behind(handler) or [_stderr_handler()]:
                logger.addHandler(replacement)
            names.append(logger.name)
    if names:
        _logger.warning("log_queue_unread loggers=%s", ",".join(names))


def _all_loggers() -> Iterator[logging.Logger]:
    yield logging.getLogger()
    for logger in list(logging.Logger.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            yield logger


def _is_unread(handler: logging.Handler) -> bool:
    # A queue of multiprocessing is read by another process.
    in_process = (queue.Queue, queue.SimpleQueue)
    return isinstance(handler, QueueHandler) and isinstance(handler.queue, in_process)


def _handlers_behind(handler: logging.Handler) -> list[logging.Handler]:
    """The handlers of the listener that read the queue of ``handler``."""
    found: list[logging.Handler] = []
    for candidate in gc.get_objects():
        if issubclass(type(candidate), QueueListener) and candidate.queue is vars(handler)["queue"]:
            found.extend(candidate.handlers)
    return found


def _stderr_handler() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(TerminalFormatter("%(asctime)s %(levelname)s %(message)s"))
    return handler
