"""Functions on a schedule."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings
from django.urls import reverse

from django_simpletask3.checks.schedules import check_schedules
from django_simpletask3.contrib.tasks.checks import check_options
from django_simpletask3.contrib.tasks.models import FunctionTask, model_of
from django_simpletask3.contrib.tasks.scheduled import SOURCE, FunctionTarget
from django_simpletask3.schedules import schedule
from django_simpletask3.schedules.declared import declared_schedules, known_schedules
from django_simpletask3.schedules.decorator import others
from django_simpletask3.schedules.targets import build_task, find_target, target_of
from django_simpletask3.schedules.validation import faults_of, faults_of_fields
from django_simpletask3.testing import run_tasks
from tests.contrib.tasks import steps
from tests.functions import tasks, treated
from tests.schedules.steps import BEGIN, HOUR, HOURLY, new_node, outcomes

PATH = "tests.functions.tasks.send"


def test_a_function_is_a_target() -> None:
    target: Any = target_of(tasks.send)

    assert target == find_target(PATH) == FunctionTarget(tasks.send)
    assert (target.key, target.model) == (PATH, model_of("mail"))
    assert target_of(tasks.send.func) is find_target("os.system") is SOURCE.find("") is None


def test_a_schedule_above_task_is_declared() -> None:
    before = list(others)
    try:
        assert schedule("0 6 * * *", fields={"address": "ada"})(tasks.send) is tasks.send
        [declared] = [one for one in declared_schedules() if one.key == PATH]

        assert declared.target == FunctionTarget(tasks.send)
        assert not faults_of_fields(declared)
    finally:
        others[:] = before


def test_the_hint_says_that_fields_of_a_function_are_its_arguments() -> None:
    before = list(others)
    try:
        schedule("0 6 * * *", fields={"nothing": 1})(tasks.send)
        (error,) = check_schedules()
    finally:
        others[:] = before

    assert error.hint == f"Correct the fields, which are arguments of {PATH}."


def test_a_path_of_a_function_may_be_too_long_for_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FunctionTarget, "key", "app." + "f" * 100)
    before = list(others)
    try:
        schedule("0 6 * * *", fields={"address": "ada"})(tasks.send)
        (error,) = check_schedules()
    finally:
        others[:] = before

    assert "its key is longer than 100 characters." in error.msg
    assert error.hint == "Shorten the name of what it is on, or of its module."


def with_schedules(value: Any) -> Any:
    """Settings with schedules of the function ``send``, as those of Django 6.0 need them."""
    entry = settings.TASKS["default"]
    functions = {**entry["OPTIONS"].get("FUNCTIONS", {}), PATH: {"schedule": value}}
    options = {**entry["OPTIONS"], "FUNCTIONS": functions}
    return override_settings(TASKS={"default": {**entry, "OPTIONS": options}})


def test_a_schedule_in_the_settings_is_declared() -> None:
    morning = schedule("0 6 * * *", fields={"address": "ada"})
    with with_schedules(morning):
        assert [one.key for one in declared_schedules()].count(PATH) == 1
        assert known_schedules()[PATH].definition == morning.definition
        assert check_schedules() == check_options() == []
    assert PATH not in known_schedules()

    with with_schedules([morning, schedule(HOURLY, name="often")]):
        assert f"{PATH}:often" in known_schedules()
        [fault] = check_schedules()
        assert "missing a required argument: 'address'" in fault.msg
        assert f"arguments of {PATH}" in fault.hint
    with with_schedules("0 6 * * *"):
        [fault] = check_options()
        assert "expected schedule(...), a list of these or None" in fault.msg
        assert PATH not in known_schedules()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "missing a required argument: 'address'"),
        ({"to": "ada"}, "missing a required argument: 'address'|unexpected"),
        ({"address": timedelta(1)}, "Unsupported type"),
    ],
    ids=["missing", "unknown", "no JSON"],
)
def test_arguments_that_do_not_fit_are_a_fault(fields: Any, text: str) -> None:
    [fault] = faults_of(FunctionTarget(tasks.send), fields)

    assert any(part in fault for part in text.split("|"))


@pytest.mark.django_db(transaction=True)
def test_the_task_of_a_tick_is_run() -> None:
    task = build_task(FunctionTarget(tasks.send), {"address": "ada"})
    task.full_clean()
    task.save()

    result = tasks.send.get_result(str(task.result_id))

    assert steps.run(result).return_value == "sent to ada"
    assert build_task(FunctionTarget(treated.refused), {"invoice": 1}).unique_text


@pytest.mark.django_db
def test_a_tick_of_a_function_is_run_when_a_test_moves_the_clock(task_clock: Any) -> None:
    clock = task_clock(BEGIN)

    with with_schedules(schedule(HOURLY, timezone="UTC", fields={"address": "ada"})):
        clock.shift(HOUR)
        [task] = run_tasks(FunctionTask).succeeded

    assert (task.task_path, task.result_data) == (PATH, "sent to ada")
    assert task.add_time == BEGIN + HOUR


@pytest.mark.django_db
def test_operators_schedule_functions_and_no_rows_of_them(
    admin_client: Any, task_clock: Any
) -> None:
    hand_clock = task_clock(BEGIN)
    page = reverse("admin:django_simpletask3_schedule_add")
    columns = {"key": "mail", "cron": HOURLY, "zone": "UTC", "fields": '{"address": "ada"}'}
    columns |= {"catch_up": "last", "overlap": "allow"}

    refused = admin_client.post(page, {**columns, "target": FunctionTask._meta.label})
    accepted = admin_client.post(page, {**columns, "target": PATH})
    assert accepted.status_code == 302
    hand_clock.shift(HOUR)
    new_node().run()

    assert "Select a valid choice" in refused.content.decode()
    task = FunctionTask.objects.get()
    assert (task.task_path, task.kwargs) == (PATH, {"address": "ada"})
    assert [outcome for _, outcome in outcomes("mail")] == ["fired"]
