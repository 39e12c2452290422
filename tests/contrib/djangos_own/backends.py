"""The backend in the place of the two that Django's tests use."""

from typing import Any

from django_simpletask3.contrib.tasks.backend import SimpleTaskBackend
from django_simpletask3.contrib.tasks.models import FunctionTask
from django_simpletask3.contrib.tasks.results import result_of
from tests.contrib.tasks import steps


class StoringBackend(SimpleTaskBackend):
    """Enqueues only; instead of DummyBackend."""

    @property
    def results(self) -> list[Any]:
        return [result_of(row) for row in FunctionTask.objects.order_by("pk")]

    def clear(self) -> None:
        FunctionTask.objects.all().delete()


class RunningBackend(SimpleTaskBackend):
    """Runs each task with the steps of a worker as soon as it is enqueued.

    Instead of ImmediateBackend.
    """

    def enqueue(self, *args: Any, **kwargs: Any) -> Any:
        return steps.run(super().enqueue(*args, **kwargs))
