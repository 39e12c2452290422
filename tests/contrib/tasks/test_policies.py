"""Retries, time limit, unique key, limit and expiry of functions."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from django_simpletask3.checks.unique import ISOLATION_ID, check_unique
from django_simpletask3.contrib.tasks import backend, policies
from django_simpletask3.contrib.tasks.models import FunctionTask
from django_simpletask3.exceptions import DuplicateTask, Retry
from django_simpletask3.limits import Limit
from django_simpletask3.limits.tables import LimitGate
from django_simpletask3.retries import Exponential, Fixed
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions import writer
from django_simpletask3.unique import Unique
from tests.contrib.tasks import steps
from tests.functions import tasks, treated
from tests.functions.framework import DEFAULTS, TaskResultStatus, exceptions
from tests.steps import kinds

pytestmark = pytest.mark.django_db(transaction=True)

READY, FAILED = TaskResultStatus.READY, TaskResultStatus.FAILED


def test_a_function_is_tried_again() -> None:
    treated.failures[:] = [ValueError("first"), Retry("second")]
    result = treated.flaky.enqueue()

    steps.run_once(result, "w1")
    assert (result.status, len(result.errors)) == (READY, 1)
    steps.run_once(result, "w2")
    steps.run_once(result, "w3")

    assert result.return_value == "done"
    assert result.worker_ids == ["w1", "w2", "w3"]
    assert [error.traceback.splitlines()[-1] for error in result.errors] == [
        "ValueError: first",
        "django_simpletask3.exceptions.Retry: second",
    ]
    assert kinds(steps.row_of(result)).count("retry") == 2


@pytest.mark.parametrize(
    ("errors", "runs"),
    [([ValueError()] * 3, 3), ([KeyError()], 1)],
    ids=["no retry left", "no retry on"],
)
def test_a_function_is_not_tried_for_ever(errors: list[BaseException], runs: int) -> None:
    treated.failures[:] = list(errors)
    result = treated.flaky.enqueue()

    for _ in range(runs):
        assert result.status == READY
        steps.run_once(result, "w1")

    assert result.status == FAILED
    assert len(result.errors) == runs


def test_other_functions_are_not_tried_again() -> None:
    assert steps.run(tasks.fail.enqueue()).status == FAILED


def test_a_result_that_cannot_be_kept_is_no_reason_for_a_retry() -> None:
    result = steps.run(treated.flaky_object.enqueue())

    assert result.status == FAILED
    assert result.errors[0].exception_class is TypeError


def test_a_row_has_the_policies_of_its_function() -> None:
    row = steps.row_of(treated.flaky.enqueue())
    other = steps.row_of(tasks.add.enqueue(1))
    unknown = FunctionTask(task_path="no.such.function")

    assert row.get_time_limit() == 100
    assert row._backoff == Fixed(0)
    assert (other.get_time_limit(), other.django_simpletask3_max_snoozes) == (None, 5)
    assert (unknown.get_time_limit(), unknown.django_simpletask3_limit) == (None, None)
    assert FunctionTask.django_simpletask3_max_retries == 0


def test_a_second_call_of_the_same_is_refused() -> None:
    first = treated.refused.enqueue(1)

    with pytest.raises(DuplicateTask) as refusal:
        treated.refused.enqueue(invoice=1, note="")
    treated.refused.enqueue(2)
    treated.joined.enqueue(1)

    assert refusal.value.task == steps.row_of(first)
    steps.run(first)
    treated.refused.enqueue(1)


def test_a_second_call_joins_the_first() -> None:
    first = treated.joined.enqueue(1)

    assert treated.joined.enqueue(1) == first
    assert treated.joined.enqueue(None) != treated.joined.enqueue(None)


def test_a_second_call_replaces_the_first() -> None:
    first = treated.replaced.enqueue(1)
    second = treated.replaced.enqueue(1)

    first.refresh()

    assert (first.status, second.status) == (FAILED, READY)


def test_a_key_is_held_as_long_as_its_function_says() -> None:
    result = treated.unfinished.enqueue(1)
    steps.start_row(steps.row_of(result))

    with pytest.raises(DuplicateTask):
        treated.unfinished.enqueue(1)
    row = steps.row_of(result)
    writer.apply(row, EventKind.CANCEL)
    treated.unfinished.enqueue(1)

    with pytest.raises(DuplicateTask):
        row.reset()


def test_arguments_that_a_unique_function_does_not_take_are_refused() -> None:
    with pytest.raises(TypeError, match=r"treated.refused: missing a required argument"):
        treated.refused.enqueue()


def test_a_limit_counts_the_calls_of_one_key() -> None:
    results = [treated.limited.enqueue(customer) for customer in ("ada", "ada", "bob")]
    other = tasks.add.enqueue(1)

    first, second, third = (steps.row_of(result) for result in results)
    run = steps.start_row(first)
    assert not steps.start_one(FunctionTask, "default", str(second.pk), worker="w", lease=60)
    steps.start_row(third)
    steps.run(other)

    second.refresh_from_db()
    results[1].refresh()
    assert (second.status, results[1].status) == (Status.BLOCKED, READY)
    assert set(LimitGate.objects.values_list("name", flat=True)) == {
        "tests.functions.treated.limited"
    }
    steps.perform(run)
    steps.finish([run])
    assert steps.run(results[1]).return_value == "ada"


def test_a_call_that_the_function_will_refuse_holds_up_no_other() -> None:
    result = treated.limited.enqueue(size=1)

    assert steps.run(result).status == FAILED
    assert result.errors[0].exception_class is TypeError


def test_a_call_expires() -> None:
    row = steps.row_of(treated.expiring.enqueue())

    assert row.expires_at - row.add_time == pytest.approx(
        timedelta(hours=1), abs=timedelta(minutes=1)
    )


def definition_of(**values: Any) -> Any:
    return backend.FunctionDefinition(func=tasks.cancel_itself.func, **DEFAULTS, **values)


def test_a_definition_takes_what_a_model_would() -> None:
    made = backend.FunctionDefinition(
        func=treated.failures_of.func, **DEFAULTS, max_retries=3, time_limit=5
    )

    row = FunctionTask(task_path=made.module_path, backend_name="any queue")

    assert (row.django_simpletask3_max_retries, row.get_time_limit()) == (3, 5)
    row.backend_name = "default"
    with override_settings(
        TASKS={
            "default": {
                "BACKEND": "django_simpletask3.contrib.tasks.SimpleTaskBackend",
                "OPTIONS": {
                    "DEFAULTS": {"max_retries": 9, "retry_for": 60},
                    "FUNCTIONS": {made.module_path: {"time_limit": 6}},
                },
            }
        }
    ):
        assert row.get_time_limit() == 6
        assert row.django_simpletask3_max_retries == 3
        assert row.django_simpletask3_retry_for == 60


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_retries", -1),
        ("max_retries", "3"),
        ("retry_backoff", 5),
        ("retry_backoff", Exponential),
        ("retry_on", 5),
        ("no_retry_on", [int]),
        ("retry_for", 0),
        ("max_snoozes", None),
        ("time_limit", "1"),
        ("expires", -1),
        ("unique", "{invoice}"),
        ("unique", Unique("{invoice}")),
        ("limit", 5),
        ("schedule", "0 6 * * *"),
        ("limit", Limit(1, key="{invoice}")),
        ("limit", Limit(1, fair_by="{invoice}")),
    ],
    ids=str,
)
def test_a_wrong_policy_is_one_line(name: str, value: Any) -> None:
    with pytest.raises(exceptions.TaskException, match=rf"cancel_itself: .*{name}|invoice"):
        definition_of(**{name: value})


def test_a_copy_has_the_policies_of_its_definition() -> None:
    with pytest.raises(exceptions.TaskException, match="part of its definition"):
        definition_of(max_retries=5)


def test_each_policy_is_an_attribute_of_models() -> None:
    for name in set(policies.NAMES) - {"schedule"}:  # which is a decorator of models
        assert hasattr(FunctionTask, f"django_simpletask3_{name}")


@pytest.mark.parametrize("is_any_unique", [True, False])
def test_the_isolation_level_matters_if_a_function_is_unique(
    is_any_unique: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections["default"], "vendor", "mysql")
    options = {"isolation_level": "serializable"}
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", options)
    assert policies.is_any_unique()
    monkeypatch.setattr(policies, "is_any_unique", lambda: is_any_unique)

    found = [m for m in check_unique() if m.id == ISOLATION_ID and m.obj is FunctionTask]

    assert bool(found) is is_any_unique
