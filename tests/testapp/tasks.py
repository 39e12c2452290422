"""The default module of executors, for a task with neither ``do_task`` nor an executor."""

from typing import Any


def ByDefaultExecutor(task: Any, **kwargs: Any) -> str:  # noqa: N802
    """Its name is the name of the model followed by ``Executor``."""
    task.carrier = "by default"
    return f"shipped {task.pk}"
