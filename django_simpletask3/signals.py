"""The signals of a task, and when they are sent.

Every signal but ``event_recorded`` is sent after the commit, with ``sender`` = the concrete task
model, ``task`` = the instance and ``event`` = its newest event, by ``send_robust``: the exception
of a receiver is logged and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.dispatch import Signal

from .states import EventKind

task_enqueued = Signal()
task_started = Signal()
task_succeeded = Signal()
task_failed = Signal()
task_retried = Signal()
task_recovered = Signal()
task_dropped = Signal()
task_released = Signal()
task_canceled = Signal()
task_reset = Signal()
task_rejected = Signal()

#: Sent for every event of any kind, after the signals of that kind.
task_transitioned = Signal()

#: Sent inside the transaction: a receiver that raises rolls it back.
event_recorded = Signal()

#: The name of each signal.
NAMES: Mapping[Signal, str] = {
    value: name for name, value in list(globals().items()) if isinstance(value, Signal)
}

#: The signals of each kind besides ``task_transitioned``; a dropped task has failed, too.
SIGNALS: Mapping[EventKind, tuple[Signal, ...]] = {
    EventKind.ENQUEUE: (task_enqueued,),
    EventKind.START: (task_started,),
    EventKind.ACK: (task_succeeded,),
    EventKind.FAIL: (task_failed,),
    EventKind.RETRY: (task_retried,),
    EventKind.RECOVER: (task_recovered,),
    EventKind.DROP: (task_dropped, task_failed),
    EventKind.RELEASE: (task_released,),
    EventKind.CANCEL: (task_canceled,),
    EventKind.RESET: (task_reset,),
    EventKind.REJECT: (task_rejected,),
    EventKind.NOTE: (),
    EventKind.HOLD: (),
    EventKind.LIFT: (),
    EventKind.ERASE: (),
    EventKind.DELETE: (),
}
