"""The page about Django's Tasks API."""

import sys
from types import ModuleType
from typing import Any

import django
import pytest
from django.conf import settings
from django.test import override_settings

from django_simpletask3.contrib.tasks import registry
from django_simpletask3.schedules import declared
from django_simpletask3.schedules.validation import faults_of_fields
from tests.contrib.tasks import steps
from tests.docs.test_how_to import defined_by, how_to
from tests.functions.framework import task, task_backends

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_functions_of_the_page_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    page = how_to("use-djangos-tasks-api")
    module: Any = ModuleType("app.tasks")
    monkeypatch.setitem(sys.modules, "app.tasks", module)
    source = page.block("python", "# app/tasks.py")
    ours = "from tests.functions.framework import task"
    exec(source.replace("from django.tasks import task", ours), vars(module))

    defined = defined_by(page.block("python", "add.enqueue"))

    assert steps.run(defined["again"]).return_value == 3
    assert defined["later"].task.queue_name == "mail"


@pytest.mark.skipif(django.VERSION[:2] == (6, 0), reason="Django 6.0 takes no fields")
def test_the_policies_of_the_page_are_those_of_its_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module: Any = ModuleType("charging")
    monkeypatch.setitem(sys.modules, "charging", module)
    module.task = task
    exec(how_to("use-djangos-tasks-api").block("python", "def charge"), vars(module))

    row = steps.row_of(module.charge.enqueue(1, 2))

    assert module.charge.enqueue(1, 2).id == str(row.result_id)
    assert (row.get_time_limit(), row.django_simpletask3_max_retries) == (60, 5)
    assert row.django_simpletask3_limit.running == 2


def test_the_report_of_the_page_is_scheduled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declared, "_others", [])
    module: Any = ModuleType("reporting")
    monkeypatch.setitem(sys.modules, "reporting", module)
    module.task = task
    exec(how_to("use-djangos-tasks-api").block("python", "def report"), vars(module))

    [one] = [each for each in declared.declared_schedules() if each.key == "reporting.report"]

    assert not faults_of_fields(one)


@pytest.mark.skipif(django.VERSION[:2] == (6, 0), reason="Django 6.0 takes no fields")
def test_the_schedules_in_task_of_the_page_are_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    module: Any = ModuleType("summing_up")
    monkeypatch.setitem(sys.modules, "summing_up", module)
    vars(module).update(task=task, schedule=declared.schedule)
    exec(how_to("use-djangos-tasks-api").block("python", "def summary"), vars(module))

    found = [one for one in declared.declared_schedules() if one.key.startswith("summing_up")]

    assert [one.key for one in found] == ["summing_up.summary", "summing_up.summary:monthly"]
    assert not any(list(faults_of_fields(one)) for one in found)
    path = "summing_up.summary"
    entry = settings.TASKS["default"]
    options = {**entry["OPTIONS"], "FUNCTIONS": {path: {"schedule": None}}}
    with override_settings(TASKS={"default": {**entry, "OPTIONS": options}}):
        assert path not in [one.key for one in declared.declared_schedules()]


def test_the_settings_of_the_page_are_those_of_the_tests() -> None:
    values: dict[str, Any] = {"INSTALLED_APPS": []}
    exec(how_to("use-djangos-tasks-api").block("python", "# settings.py"), values)

    assert type(task_backends["default"]).__name__ in values["TASKS"]["default"]["BACKEND"]
    assert set(values["TASKS"]["default"]["QUEUES"]) <= task_backends["default"].queues
