"""The page about Django's Tasks API."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import django
import pytest
from django.conf import settings
from django.test import override_settings

from django_simpletask3.contrib.tasks import registry
from django_simpletask3.schedules import declared, decorator, schedule
from django_simpletask3.schedules.validation import faults_of_fields
from tests.contrib.tasks import steps
from tests.docs.test_how_to import defined_by, how_to
from tests.functions.framework import task, task_backends

#: Settings of a project with the functions that the page names.
SETTINGS = """
SECRET_KEY = "only for tests"
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:1/0"
INSTALLED_APPS = ["django_simpletask3", "django_simpletask3.contrib.tasks"]
OPTIONS = {**OPTIONS_0, "FUNCTIONS": FUNCTIONS, "MODULES": ["functions"]}
TASKS = {
    "default": {
        "BACKEND": "django_simpletask3.contrib.tasks.SimpleTaskBackend", "OPTIONS": OPTIONS
    }
}
"""
USED = """
import json, os, sys
from types import ModuleType

import django
from django.conf import settings

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
settings.INSTALLED_APPS
sys.modules["functions"] = ModuleType("functions")
django.setup()

from django.core.checks import run_checks
from django_simpletask3.contrib.tasks.framework import framework
from django_simpletask3.contrib.tasks.policies import policy
from django_simpletask3.schedules.declared import declared_schedules
from importlib import import_module

task = import_module(framework().name).task

def charge(customer_id, invoice_id): ...
def send_all(): ...

for function, module in ((charge, "app.tasks"), (send_all, "newsletter.tasks")):
    function.__module__ = module
    task(function)
names = ("unique", "limit", "time_limit", "retry_backoff")
values = [policy(name, "app.tasks.charge", "default") for name in names]
print(json.dumps({
    "keys": [one.key for one in declared_schedules()],
    "charge": [v if isinstance(v, int) else type(v).__name__ for v in values],
    "messages": [str(message) for message in run_checks()],
}))
"""

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


def test_the_row_of_a_call_is_canceled_and_reset(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module: Any = ModuleType("app.tasks")
    monkeypatch.setitem(sys.modules, "app.tasks", module)
    page = how_to("use-djangos-tasks-api")
    ours = "from tests.functions.framework import task"
    source = page.block("python", "# app/tasks.py")
    exec(source.replace("from django.tasks import task", ours), vars(module))

    defined = defined_by(page.block("python", "row.explain()"))

    assert capsys.readouterr().out.startswith(("It waits", "It is the next", "No worker"))
    kinds = [event.kind for event in defined["row"].events.all()]
    assert kinds == ["enqueue", "cancel", "reset"]


def test_the_report_of_the_page_is_scheduled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decorator, "others", [])
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
    vars(module).update(task=task, schedule=schedule)
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
    exec(how_to("use-djangos-tasks-api").block("python", "# settings.py\nINSTALLED_APPS"), values)

    assert type(task_backends["default"]).__name__ in values["TASKS"]["default"]["BACKEND"]
    assert set(values["TASKS"]["default"]["QUEUES"]) <= task_backends["default"].queues


def test_settings_may_hold_all_that_the_page_puts_into_options(tmp_path: Path) -> None:
    page = how_to("use-djangos-tasks-api")
    blocks = [page.block("python", text) for text in ('"DEFAULTS"', '"newsletter.tasks.send_all"')]
    code = [block.replace("OPTIONS", f"OPTIONS_{n}") for n, block in enumerate(blocks)]
    functions = "FUNCTIONS = {**OPTIONS_0['FUNCTIONS'], **OPTIONS_1['FUNCTIONS']}"
    (tmp_path / "settings.py").write_text("\n".join([*code, functions, SETTINGS]))
    (tmp_path / "used.py").write_text(USED)

    done = subprocess.run(
        [sys.executable, "used.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["keys"] == ["newsletter.tasks.send_all"]
    assert found["charge"] == ["Unique", "Limit", 90, "Fixed"]
    assert found["messages"] == []
