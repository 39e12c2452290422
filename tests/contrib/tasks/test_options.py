"""What is wrong in TASKS is one line of ``check``."""

import sys
from typing import Any

import pytest
from django.core.management import CommandError
from django.test import override_settings

from django_simpletask3.contrib.tasks import SimpleTaskBackend
from django_simpletask3.contrib.tasks.checks import (
    FRAMEWORK_ID,
    OPTIONS_ID,
    check_framework,
    check_options,
)
from django_simpletask3.contrib.tasks.framework import framework
from django_simpletask3.contrib.tasks.models import FunctionTask, model_of
from django_simpletask3.contrib.tasks.queues import model_name_of
from django_simpletask3.management.arguments import select_queues
from django_simpletask3.unique import Unique
from tests.functions.framework import task_backends

ADD = "tests.functions.tasks.add"
OURS = "django_simpletask3.contrib.tasks.SimpleTaskBackend"


def messages_of(**entry: Any) -> list[str]:
    with override_settings(TASKS={"default": {"BACKEND": OURS, **entry}}):
        return [message.msg for message in check_options()]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"QUEUES": "mail"}, "QUEUES is 'mail'"),
        ({"QUEUES": [5]}, "QUEUES names 5"),
        ({"OPTIONS": 5}, "OPTIONS is 5"),
        ({"OPTIONS": {"MODULE": []}}, "no 'MODULE'"),
        ({"OPTIONS": {"MODULES": 5}}, "MODULES is 5"),
        ({"OPTIONS": {"WORKER_NUMBER": 5}}, "WORKER_NUMBER is 5"),
        ({"OPTIONS": {"WORKER_NUMBER": {"default": 0}}}, "'default' is 0"),
        ({"OPTIONS": {"WORKER_NUMBER": {"mail": 1}}}, "names 'mail'"),
        ({"OPTIONS": {"DEFAULTS": 5}}, "DEFAULTS is 5"),
        ({"OPTIONS": {"DEFAULTS": {"retries": 5}}}, "no 'retries'"),
        ({"OPTIONS": {"DEFAULTS": {"limit": None}}}, "DEFAULTS has 'limit'"),
        ({"OPTIONS": {"FUNCTIONS": 5}}, "FUNCTIONS is 5"),
        ({"OPTIONS": {"FUNCTIONS": {ADD: {"max_retries": "5"}}}}, "max_retries is '5'"),
        ({"OPTIONS": {"FUNCTIONS": {"a.b": {}}}}, "a.b is no function"),
        ({"OPTIONS": {"FUNCTIONS": {ADD: {"unique": Unique("{third}")}}}}, "names third"),
    ],
    ids=str,
)
def test_a_wrong_entry_is_one_line(entry: Any, text: str) -> None:
    [message] = messages_of(**entry)

    assert text in message


class OwnBackend(SimpleTaskBackend):
    """As a project may derive one."""


@pytest.mark.parametrize("name", ["OwnBackend", "SimpleTaskBackend"])
def test_the_backend_by_another_path_is_reported(name: str) -> None:
    [message] = messages_of(BACKEND=f"{__name__}.{name}", OPTIONS=5)

    assert f"BACKEND is '{__name__}.{name}'" in message


@pytest.mark.parametrize("path", ["django_tasks_db.DatabaseBackend", "nowhere.Backend", "", 5])
def test_other_backends_are_not_checked(path: Any) -> None:
    assert messages_of(BACKEND=path, OPTIONS=5) == []


def test_the_settings_of_the_tests_are_right() -> None:
    assert check_options() == []
    assert OPTIONS_ID == "django_simpletask3.E131"


def test_a_django_without_tasks_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_framework() == []
    framework.cache_clear()
    with monkeypatch.context() as without:
        for name in ("django.tasks", "django_tasks"):
            without.setitem(sys.modules, name, None)
        [error] = check_framework()

    assert error.id == FRAMEWORK_ID == "django_simpletask3.E132"
    assert 'pip install "django-simpletask3[tasks]"' in str(error.hint)
    framework()


def test_the_backend_reports_that_its_app_is_missing(settings: Any) -> None:
    assert list(task_backends["default"].check()) == []

    settings.INSTALLED_APPS = ["django_simpletask3"]
    [message] = task_backends["default"].check()

    assert "is not installed" in message.msg


@pytest.mark.parametrize(
    "names", [("mail", "Mail"), ("a b", "a_b"), ("ü", "ö"), ("__", "_"), ("x" * 99, "x" * 98)]
)
def test_each_queue_has_a_name_for_its_model(names: tuple[str, str]) -> None:
    first, second = map(model_name_of, names)

    assert first.lower() != second.lower()
    for name in (first, second):
        assert name.isidentifier()
        assert "__" not in name
        assert not name.endswith("_")


def test_queues_are_selected_by_their_names() -> None:
    assert select_queues(["mail, default"]) == [model_of("mail"), FunctionTask]
    with pytest.raises(CommandError, match="Choose from: Slow Things, default, mail"):
        select_queues(["post"])
