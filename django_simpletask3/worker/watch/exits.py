"""Which thread of a worker process ends it by ``os._exit()``, or by ``os.kill()``."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

from .activity import Activity


def publish_exits(activity: Activity) -> None:
    """Replace the two functions in this process by ones that first publish who calls them.

    Without that a task function that ends its process looks like the ones beside it.
    """
    os._exit = _published(os._exit, activity, os.getpid())
    os.kill = _published(os.kill, activity, os.getpid())


def _published(function: Callable[..., Any], activity: Activity, pid: int) -> Callable[..., Any]:
    @wraps(function)
    def call(*arguments: Any) -> Any:
        if os.getpid() != pid:  # a process that a task function forked
            return function(*arguments)
        activity.set_ending_thread(threading.get_ident())
        try:
            return function(*arguments)
        finally:
            activity.set_ending_thread(0)

    return call
