"""The signals of a task, and when they are sent.

Every signal but ``event_recorded`` is sent after the commit, with ``sender`` = the concrete task
model, ``task`` = the instance and ``event`` = its newest event, by ``send_robust``: the exception
of a receiver is logged and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.dispatch import Signal

from .context import current
from .logs import get_logger
from .states import EventKind

_logger = get_logger(__name__)


class TaskSignal(Signal):
    """A signal that logs what a receiver raises as the other events of this package.

    Django's own record goes to no handler by default, unless DEBUG is set.
    """

    def _log_robust_failure(self, receiver: object, err: Exception) -> None:
        _logger.error(
            "receiver_failed signal=%s receiver=%s event=%s",
            NAMES[self],
            getattr(receiver, "__qualname__", type(receiver).__qualname__),
            current().data.get("cause", ""),
            exc_info=err,
        )


task_enqueued = TaskSignal()
task_started = TaskSignal()
task_succeeded = TaskSignal()
task_failed = TaskSignal()
task_retried = TaskSignal()
task_snoozed = TaskSignal()
task_recovered = TaskSignal()
task_dropped = TaskSignal()
task_released = TaskSignal()
task_blocked = TaskSignal()
task_unblocked = TaskSignal()
task_canceled = TaskSignal()
task_expired = TaskSignal()
task_reset = TaskSignal()
task_rejected = TaskSignal()

#: Sent for every event of any kind, after the signals of that kind.
task_transitioned = TaskSignal()

#: Sent inside the transaction: a receiver that raises rolls it back.
event_recorded = TaskSignal()

#: The name of each signal.
NAMES: Mapping[Signal, str] = {
    value: name for name, value in list(globals().items()) if isinstance(value, Signal)
}


def has_receivers(model: type) -> bool:
    """Whether anything is called when the state of a task of ``model`` changes."""
    return any(signal.receivers and signal.has_listeners(model) for signal in NAMES)


#: The signals of each kind besides ``task_transitioned``; a dropped task has failed, too.
SIGNALS: Mapping[EventKind, tuple[Signal, ...]] = {
    EventKind.ENQUEUE: (task_enqueued,),
    EventKind.START: (task_started,),
    EventKind.ACK: (task_succeeded,),
    EventKind.FAIL: (task_failed,),
    EventKind.RETRY: (task_retried,),
    EventKind.SNOOZE: (task_snoozed,),
    EventKind.RECOVER: (task_recovered,),
    EventKind.DROP: (task_dropped, task_failed),
    EventKind.RELEASE: (task_released,),
    EventKind.BLOCK: (task_blocked,),
    EventKind.UNBLOCK: (task_unblocked,),
    EventKind.CANCEL: (task_canceled,),
    EventKind.EXPIRE: (task_expired, task_canceled),
    EventKind.RESET: (task_reset,),
    EventKind.REJECT: (task_rejected,),
    EventKind.NOTE: (),
    EventKind.CHECKPOINT: (),
    EventKind.HOLD: (),
    EventKind.LIFT: (),
    EventKind.ERASE: (),
    EventKind.DELETE: (),
}
