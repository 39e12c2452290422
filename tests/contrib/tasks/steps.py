"""Steps of function tasks, taken without a node."""

from typing import Any

from django_simpletask3.contrib.tasks.models import FunctionTask
from django_simpletask3.execution.finish import finish
from django_simpletask3.execution.perform import perform
from django_simpletask3.execution.run import Run
from django_simpletask3.execution.start import start, start_one
from django_simpletask3.queue import get_queue
from django_simpletask3.testing import run_tasks

LEASE = 60.0


def row_of(result: Any) -> Any:
    """The row of a result."""
    return FunctionTask.objects.get(result_id=result.id)


def start_row(row: Any, worker: str = "w1") -> Run:
    [run] = start_one(type(row), "default", str(row.pk), worker=worker, lease=LEASE)
    return run


def run(result: Any) -> Any:
    """``result`` after its function was run, as often as it is tried at once."""
    run_tasks(row_of(result))
    result.refresh()
    return result


def run_once(result: Any, worker: str) -> Any:
    """``result`` after ``worker`` has run its function once."""
    attempt = start_row(row_of(result), worker)
    perform(attempt)
    assert not finish([attempt])
    result.refresh()
    return result


def run_messages(model: type[FunctionTask], worker: str = "w1") -> int:
    """Run what the messages in the channel of ``model`` name; how many functions were called."""
    messages = get_queue().claim(model.get_event_channel(), worker=worker, limit=10, lease=LEASE)
    runs, _ = start(model, messages, worker=worker, lease=LEASE)
    for attempt in runs:
        perform(attempt)
    assert not finish(runs)
    return len(runs)
