"""The signals of the framework, sent when those of this package are: after the commit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ... import signals
from ...exceptions import FunctionMissing
from ...logs import get_logger
from . import results
from .framework import framework_of

_logger = get_logger(__name__)

_ENDS = (signals.task_succeeded, signals.task_failed, signals.task_canceled)


def connect(models: Iterable[type[Any]]) -> None:
    """Send the signals of the framework when tasks of ``models`` are enqueued, or have ended."""
    for model in models:
        uid = f"{__name__}.{model.__name__}"
        signals.task_enqueued.connect(_send_enqueued, sender=model, dispatch_uid=uid)
        for signal in _ENDS:
            signal.connect(_send_finished, sender=model, dispatch_uid=uid)


def send(name: str, result: Any) -> None:
    """Send a signal of the framework of ``result``; what a receiver raises is logged."""
    signal = getattr(framework_of(result.task).signals, name)
    backend = result.task.get_backend()
    for receiver, answer in signal.send_robust(sender=type(backend), task_result=result):
        if isinstance(answer, Exception):
            _logger.error(
                "receiver_failed signal=%s receiver=%s event=%s",
                name,
                getattr(receiver, "__qualname__", type(receiver).__qualname__),
                result.id,
                exc_info=answer,
            )


def _send_enqueued(task: Any, **_: Any) -> None:
    _send_of_row("task_enqueued", task, results.History())


def _send_finished(task: Any, event: Any, **_: Any) -> None:
    is_first = task.attempt == 1 and event.from_status == task.RUNNING and event.worker
    history = results.first_history(task, event) if is_first else None
    # With its frames it keeps the instance alive that it is an attribute of.
    error = vars(task).pop("_raised", None)
    _send_of_row("task_finished", task, history, error)


def _send_of_row(
    name: str, task: Any, history: results.History | None, raised: BaseException | None = None
) -> None:
    try:
        result = results.result_of(task, history=history)
    except FunctionMissing as error:
        # There is no Task to send: a forged row, or one whose code is gone.
        _logger.warning("signal_not_sent signal=%s pk=%s error=%s", name, task.pk, error)
        return
    failure = raised or results.error_of(result)
    if failure is None:
        send(name, result)
    else:
        _send_while_handling(failure, name, result)


def _send_while_handling(error: BaseException, name: str, result: Any) -> None:
    """Send the signal as backends of the framework do: while ``error`` is being handled.

    Its logger, and tools that report errors, take it from ``sys.exc_info()``.
    """
    frames = error.__traceback__
    try:
        raise error
    except BaseException:
        error.__traceback__ = frames  # without this one
        send(name, result)
