"""The queue that the settings describe, one per process."""

from __future__ import annotations

import os
import threading

from django.core.signals import setting_changed

from ..conf.options import options
from .connection import outage
from .simqcore_api import Queue
from .urls import parse
from .without_redis.empty_queue import QueueWithoutRedis

# Types of their own: mypy refuses a class that lacks an operation of the contract.
_WITH_REDIS: type[Queue] = Queue
_WITHOUT_REDIS: type[QueueWithoutRedis] = QueueWithoutRedis


class _Slot:
    """Holds the process's queue; a forked child starts with an empty slot."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.queue: Queue | QueueWithoutRedis | None = None


_slot = _Slot()


def get_queue() -> Queue | QueueWithoutRedis:
    """Return the process's queue, created on first use; connects to Redis only when it is used.

    Raises InvalidSetting if a setting is invalid.
    """
    with _slot.lock:
        if _slot.queue is None:
            _slot.queue = _create_queue()
        return _slot.queue


def reset_queue() -> None:
    """Close the process's queue; the next ``get_queue`` reads the settings again."""
    with _slot.lock:
        queue, _slot.queue = _slot.queue, None
    outage.forget()
    if queue is not None:
        queue.close()


def _create_queue() -> Queue | QueueWithoutRedis:
    url = options.simq_redis_url
    is_without_redis = parse(url).scheme == "none"
    return (_WITHOUT_REDIS if is_without_redis else _WITH_REDIS).from_url(
        url,
        prefix=options.simq_prefix,
        ack_event_expire=options.simq_ack_event_expire,
        done_item_expire=options.simq_done_item_expire,
        worker_status_expire=options.simq_worker_status_expire,
        running_timeout=options.simq_running_timeout,
        default_running_timeout_action=options.simq_default_running_timeout_action,
        running_timeout_handler_policies=options.simq_running_timeout_handler_policies,
    )


def _reset_on_setting_change(*, setting: str, **_: object) -> None:
    if "SIMQ" in setting or "REDIS" in setting or "ACK_EVENT" in setting:
        reset_queue()


setting_changed.connect(_reset_on_setting_change, dispatch_uid="django_simpletask3.queue")
# __init__ again: the lock may have been copied while another thread of the parent held it.
os.register_at_fork(after_in_child=_slot.__init__)  # type: ignore[misc]
