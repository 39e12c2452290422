"""A call of a function: the task model behind the backend."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from inspect import iscoroutinefunction
from typing import Any, ClassVar

from django.db import Error as DatabaseError
from django.db import models
from django.utils.translation import gettext_lazy as _

from ...db.errors import is_transient
from ...ledger.fields import MAX_TEXT, JSONTextField
from ...ledger.stop_signal import FunctionNotCalled
from ...models.mixins.expiring_task import ExpiringTask
from ...models.mixins.unique_task import UniqueTask
from ...unique import Unique
from . import policies, queues, registry, results, signals
from .policies import RowPolicies

#: Characters of the name of a queue, or of a backend.
MAX_NAME = 100


class FunctionTask(RowPolicies, UniqueTask, ExpiringTask):
    """One call of a function that is decorated with ``@task``: the backend saves it.

    An instance is of the model of its queue, if ``TASKS`` names the queue: a proxy of this one.
    """

    _model_columns: ClassVar[tuple[str, ...]] = ("queue_name",)
    _is_written_by_function: ClassVar[bool] = False
    _queue_name: ClassVar[str | None] = queues.DEFAULT_QUEUE
    django_simpletask3_worker_number = queues.worker_number_of(queues.DEFAULT_QUEUE)

    # In the key, the path of the function is before its arguments.
    django_simpletask3_unique = Unique("{unique_text}")
    #: The id of the result, which tells nothing of the row.
    result_id = models.UUIDField(_("result id"), default=uuid.uuid4, unique=True, editable=False)
    task_path = models.CharField(_("function"), max_length=MAX_TEXT)
    args = JSONTextField(_("arguments"), default=list, blank=True)
    kwargs = JSONTextField(_("keyword arguments"), default=dict, blank=True)
    queue_name = models.CharField(_("queue"), max_length=MAX_NAME, default=queues.DEFAULT_QUEUE)
    #: What a function with ``unique`` calls the same; the unique key is made of it.
    unique_text = models.TextField(_("unique text"), null=True, editable=False)
    backend_name = models.CharField(_("backend"), max_length=MAX_NAME, default="default")

    class Meta:
        verbose_name = _("function task")
        verbose_name_plural = _("function tasks")

    #: What the last call raised in this process, for the receivers of ``task_finished``.
    _raised: BaseException | None = None

    def __str__(self) -> str:
        return f"{self.task_path} {self.pk}"

    @classmethod
    def from_db(cls, db: Any, field_names: Any, values: Any, **options: Any) -> Any:
        """As Django's; an instance of the model of its queue."""
        queue = next(
            (v for name, v in zip(field_names, values, strict=False) if name == "queue_name"), None
        )
        model: Any = cls if queue is None else model_of(queue)
        return super(FunctionTask, model).from_db(db, field_names, values, **options)

    @classmethod
    def _declared_limits(cls) -> Sequence[Any]:
        """The limits of all functions."""
        return policies.declared_limits()

    @classmethod
    def _may_be_unique(cls) -> bool:
        """Whether a function has a unique key."""
        return policies.is_any_unique()

    def do_task(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function; raises FunctionMissing if this process does not know it.

        If the database cannot tell of the earlier attempts, the task is given back.
        """
        try:
            return self._call(*args, **kwargs)
        except BaseException as error:
            self._raised = error
            raise

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        definition = registry.find(self.task_path)
        try:
            worker = kwargs.get("worker") or self.worker
            result = results.result_of_running(self, definition, worker)
        except DatabaseError as error:
            if is_transient(error):
                raise FunctionNotCalled from error
            raise
        signals.send("task_started", result)
        arguments = list(result.args)
        if definition.takes_context:
            arguments.insert(0, results.context_of(result))
        returned = definition.func(*arguments, **result.kwargs)
        if iscoroutinefunction(definition.func):
            return self._await(returned, definition)
        self._has_returned = True
        return results.storable_value(returned, definition)

    async def _await(self, coroutine: Any, definition: Any) -> Any:
        try:
            returned = await coroutine
            self._has_returned = True
            return results.storable_value(returned, definition)
        except BaseException as error:
            self._raised = error
            raise


#: The models of the named queues.
_models: dict[str, type[FunctionTask]] = {}


def model_of(queue: str) -> type[FunctionTask]:
    """The model of ``queue``: FunctionTask itself, unless ``TASKS`` named it at the start."""
    return _models.get(queue, FunctionTask)


def queue_models() -> list[type[FunctionTask]]:
    """The models of all queues; the first is FunctionTask itself."""
    return [FunctionTask, *_models.values()]


def _make_queue_model(queue: str) -> type[FunctionTask]:
    name = queues.model_name_of(queue)
    texts = {
        "verbose_name": f"function task ({queue})",
        "verbose_name_plural": f"function tasks ({queue})",
    }
    body = {
        "__module__": __name__,
        "__qualname__": name,
        "__doc__": f"A call of a function in the queue {queue!r}.",
        "_queue_name": queue,
        "django_simpletask3_worker_number": queues.worker_number_of(queue),
        "Meta": type("Meta", (), {"proxy": True, "default_permissions": (), **texts}),
    }
    model: type[FunctionTask] = type(name, (FunctionTask,), body)
    setattr(sys.modules[__name__], name, model)
    return model


for _queue in queues.named_queues():
    _models[_queue] = _make_queue_model(_queue)
