"""Executors outside ``tasks.py``, named by a dotted path or set as a callable."""

from typing import Any


def deliver(task: Any, **kwargs: Any) -> str:
    """Assign a column of the task, as ``do_task`` may."""
    task.carrier = "by path"
    return f"delivered {task.pk}"


def collect(task: Any, **kwargs: Any) -> str:
    task.carrier = "by callable"
    return f"collected {task.pk}"
