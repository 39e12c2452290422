"""Where a task without ``do_task`` and without a named executor finds its own."""

from typing import Any


def ByDefaultExecutor(task: Any, **kwargs: Any) -> str:  # noqa: N802
    """The name is the model's with ``Executor`` behind it."""
    task.carrier = "by default"
    return f"shipped {task.pk}"
