"""The backend for ``TASKS``: a call of a function becomes a row, and runs on our nodes."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error
from django.db import router

from ...conf.options import options
from ...exceptions import FunctionMissing
from ...ledger.encoding import encode
from ...ledger.fields import MAX_TEXT
from ...limits import Limit
from ...unique import Unique
from . import policies, registry
from .framework import framework, framework_of
from .policies import UNSET
from .queues import queues_of

INSTALLED_ID = "django_simpletask3.E130"

_MAX_QUEUE_NAME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionDefinition(framework().task_class):  # type: ignore[misc]
    """A task of the framework with the policies of this package, as ``@task`` takes them.

    Each means what the attribute of a task model with the prefix ``django_simpletask3_`` does;
    ``schedule`` is what ``@schedule`` says of one.
    """

    max_retries: Any = UNSET
    retry_backoff: Any = UNSET
    retry_on: Any = UNSET
    no_retry_on: Any = UNSET
    retry_for: Any = UNSET
    max_snoozes: Any = UNSET
    time_limit: Any = UNSET
    expires: Any = UNSET
    unique: Any = UNSET
    limit: Any = UNSET
    schedule: Any = UNSET


class PolicyBackend(framework().backend_class):  # type: ignore[misc]
    """A backend that knows the fields of FunctionDefinition."""

    task_class = FunctionDefinition

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        # The framework raises for what is no list, and so before the check can report it.
        is_wrong = "QUEUES" in params and params["QUEUES"] != queues_of(params)
        super().__init__(alias, {**params, "QUEUES": queues_of(params)} if is_wrong else params)

    def validate_task(self, task: Any) -> None:
        """As the framework's; a function that is valid may be called by rows from then on."""
        super().validate_task(task)
        for name, limit in (("module_path", MAX_TEXT), ("queue_name", _MAX_QUEUE_NAME)):
            if len(getattr(task, name)) > limit:
                raise framework_of(task).invalid_task(
                    f"The {name} {getattr(task, name)!r} is longer than {limit} characters."
                )
        for name in policies.NAMES:
            value = getattr(task, name, UNSET)
            if value is not UNSET:
                self._validate_policy(task, name, value)
        registry.register(task)

    def _validate_policy(self, task: Any, name: str, value: Any) -> None:
        faults = [fault] if (fault := policies.fault_of(name, value)) else []
        if not faults and isinstance(value, Limit | Unique):
            faults = [*policies.faults_of_template(task.func, value)]
        known = registry.known(task)
        if known is not None and getattr(known, name, UNSET) != value:
            faults.append(f"{name} is part of its definition: write it in @task")
        if faults:
            raise framework_of(task).invalid_task(f"{task.module_path}: {faults[0]}.")


class SimpleTaskBackend(PolicyBackend):
    """Saves a FunctionTask for each call, in the transaction of the caller.

    The message is pushed, and ``task_enqueued`` sent, after the commit. The result is in the row
    and in its events: ``get_result()`` finds it from any process.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Save a row for the call; returns its result.

        Raises InvalidTask if the task is invalid, TypeError or ValueError if JSON does not hold the
        arguments, ValueError if they are larger than a result may be. If another call has the
        unique key: raises DuplicateTask, whose ``task`` is the row of that call, or returns its
        result, or cancels it, as ``unique`` says.
        """
        from .models import model_of
        from .results import History, result_of

        self.validate_task(task)
        columns = columns_of_call(task, self.alias, args, kwargs)
        row = model_of(task.queue_name).objects.enqueue(**columns)
        return result_of(row, *([] if row.was_joined else [task, History()]))

    def get_result(self, result_id: Any) -> Any:
        """The result with this id, as it is now.

        Raises TaskResultDoesNotExist if there is none, also for what is no id, and if this process
        does not know the function.
        """
        from .models import FunctionTask
        from .results import result_of

        does_not_exist = framework().result_does_not_exist
        parsed = _parse_id(result_id)
        using = router.db_for_write(FunctionTask)
        row = parsed and FunctionTask._base_manager.using(using).filter(result_id=parsed).first()
        if not row:
            raise does_not_exist(result_id)
        try:
            return result_of(row)
        except FunctionMissing as error:
            raise does_not_exist(f"{result_id}: {error}") from error

    def check(self, **kwargs: Any) -> Iterable[CheckMessage]:
        """Report that the app is not installed; the checks of the app report the rest."""
        if not apps.is_installed("django_simpletask3.contrib.tasks"):
            yield Error(
                f"TASKS[{self.alias!r}] names {type(self).__name__}, but its app is not installed.",
                hint="Add 'django_simpletask3.contrib.tasks' to INSTALLED_APPS.",
                id=INSTALLED_ID,
            )


def _parse_id(result_id: Any) -> uuid.UUID | None:
    try:
        parsed = uuid.UUID(result_id)
    except (ValueError, TypeError, AttributeError):
        return None
    return parsed if str(parsed) == result_id else None


def columns_of_call(task: Any, alias: str, args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of the row for a call of ``task``; errors as of ``enqueue()``."""
    columns = _arguments(task, args, kwargs)
    return {
        "task_path": task.module_path,
        "priority": int(task.priority),
        "run_after": task.run_after,
        "queue_name": task.queue_name,
        "backend_name": alias,
        "unique_text": policies.unique_text(task, alias, columns),
        **columns,
    }


def _arguments(task: Any, args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    normalize = framework_of(task).normalize_json
    columns = {"args": normalize(list(args)), "kwargs": normalize(dict(kwargs))}
    limit = options.result_size_limit
    for name, value in columns.items():
        if value and len(encode(value)) > limit:
            raise ValueError(
                f"The {name} of {task.module_path} have more than {limit} bytes of JSON: save them "
                "elsewhere, and pass their key."
            )
    return columns
