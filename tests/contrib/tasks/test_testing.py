"""The backends for tests of a project."""

from typing import Any

import pytest
from django.test import override_settings

from django_simpletask3.contrib.tasks import backend, testing
from django_simpletask3.testing import assertEnqueued, run_tasks
from tests.functions import tasks
from tests.functions.framework import DEFAULTS, TaskResultStatus, exceptions, task_backends

PATH = testing.__name__


def with_backend(name: str) -> Any:
    return override_settings(TASKS={"default": {"BACKEND": f"{PATH}.{name}", "QUEUES": []}})


@pytest.mark.parametrize("name", ["DummyBackend", "ImmediateBackend"])
def test_a_test_double_takes_our_fields(name: str) -> None:
    function = tasks.echo.func
    with with_backend(name):
        made = task_backends["default"].task_class(func=function, **DEFAULTS)

        assert isinstance(made, backend.FunctionDefinition)
        with pytest.raises(exceptions.TaskException, match="max_retries"):
            backend.FunctionDefinition(func=function, **DEFAULTS, max_retries="3")


def test_the_dummy_keeps_what_is_enqueued() -> None:
    with with_backend("DummyBackend"):
        result = tasks.echo.enqueue(1)

        assert task_backends["default"].results == [result]


def test_the_immediate_one_runs_it() -> None:
    with with_backend("ImmediateBackend"):
        result = tasks.echo.enqueue(1)

    assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, 1)


@pytest.mark.parametrize("helper", [run_tasks, assertEnqueued])
def test_the_helpers_name_the_model_of_a_function(helper: Any) -> None:
    with pytest.raises(TypeError, match=r"are rows of FunctionTask\.$"):
        helper(tasks.echo)
