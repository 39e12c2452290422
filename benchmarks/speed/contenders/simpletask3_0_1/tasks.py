"""The executor of the task."""

from typing import Any

from benchmarks.speed.contenders import task_body


def NoopExecutor(task: Any) -> str:  # noqa: N802
    return task_body.run_task(task.text)
