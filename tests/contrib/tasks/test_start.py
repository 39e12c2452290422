"""What ``TASKS`` says at the start of a process."""

import json
import subprocess
import sys
import textwrap
from types import SimpleNamespace
from typing import Any

from django_simpletask3.checks.schedules import SCHEDULE_ID
from django_simpletask3.contrib.tasks.checks import OPTIONS_ID
from django_simpletask3.schedules import schedule
from django_simpletask3.schedules.declared import Declared

OURS = "django_simpletask3.contrib.tasks"

_START = """
import json, sys
import django
from django.conf import settings

settings.configure(
    SECRET_KEY="x",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    DJANGO_SIMPLETASK3_SIMQ_REDIS_URL="redis://127.0.0.1:1/0",
    INSTALLED_APPS=json.loads(sys.argv[1]),
    TASKS=json.loads(sys.argv[2]),
)
django.setup()
from django.core.checks import run_checks
from django_simpletask3.contrib.tasks.framework import framework
from django_simpletask3.contrib.tasks.checks import OPTIONS_ID
from django_simpletask3.schedules import schedule
from importlib import import_module

task = import_module(framework().name).task
"""
_END = """
print(json.dumps([[message.id, message.msg] for message in run_checks()]))
"""


def messages_of(tasks: Any, code: str) -> list[list[str]]:
    """What ``check`` says in a new process with these ``TASKS``, after it has run ``code``."""
    apps = ["django_simpletask3", OURS]
    script = _START + textwrap.dedent(code) + _END
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(apps), json.dumps(tasks)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    messages: list[list[str]] = json.loads(done.stdout)
    return messages


def test_schedules_are_checked_with_the_backends_of_tests_too() -> None:
    names = {"default": "ImmediateBackend", "kept": "DummyBackend"}
    tasks = {alias: {"BACKEND": f"{OURS}.testing.{name}"} for alias, name in names.items()}
    messages = messages_of(
        tasks,
        """
        def run(kind): ...
        def keep(kind): ...

        for call, alias in ((run, "default"), (keep, "kept")):
            function = task(backend=alias)(call)
            schedule("0 6 * * *", fields={"kind": "daily"})(function)
            schedule("0 6 * * *", name="wrong")(function)
        """,
    )

    assert len(messages) == 2, messages
    for (number, text), name in zip(messages, ("keep", "run"), strict=True):
        assert number == SCHEDULE_ID
        assert text.startswith(f"Schedule __main__.{name}:wrong: ")
        assert "missing a required argument: 'kind'" in text


def test_the_schedule_of_a_function_has_the_path_of_that_without_our_app_too() -> None:
    function = SimpleNamespace(module_path="app.tasks.send")
    definition = schedule("0 6 * * *", name="daily").definition

    assert Declared(function, definition, None).key == "app.tasks.send:daily"


#: A wrong value each, and a part of what is said of it.
WRONG: dict[str, tuple[Any, str]] = {
    "queues": ({"QUEUES": 5}, "QUEUES is 5"),
    "text": ({"QUEUES": "mail"}, "QUEUES is 'mail'"),
    "no names": ({"QUEUES": [["a"]]}, "QUEUES names ['a']"),
    "no options": ({"OPTIONS": None}, "OPTIONS is None"),
    "options": ({"OPTIONS": ["a"]}, "OPTIONS is ['a']"),
    "modules": ({"OPTIONS": {"MODULES": 5}}, "MODULES is 5"),
    "no module": ({"OPTIONS": {"MODULES": [5, ""]}}, "MODULES is [5, '']"),
    "no functions": ({"OPTIONS": {"FUNCTIONS": None}}, "FUNCTIONS is None"),
    "functions": ({"OPTIONS": {"FUNCTIONS": ["a"]}}, "FUNCTIONS is ['a']"),
    "function": ({"OPTIONS": {"FUNCTIONS": {"__main__.call": 5}}}, "'__main__.call'] is 5"),
    "limit": ({"OPTIONS": {"FUNCTIONS": {"__main__.call": {"limit": 5}}}}, "limit is 5"),
    "errors": ({"OPTIONS": {"FUNCTIONS": {"__main__.call": {"retry_on": 5}}}}, "retry_on is 5"),
    "no defaults": ({"OPTIONS": {"DEFAULTS": None}}, "DEFAULTS is None"),
    "defaults": ({"OPTIONS": {"DEFAULTS": {"time_limit": "a"}}}, "time_limit is 'a'"),
    "numbers": ({"OPTIONS": {"WORKER_NUMBER": ["a"]}}, "WORKER_NUMBER is ['a']"),
    "number": ({"QUEUES": 5, "OPTIONS": {"WORKER_NUMBER": {"a": 1}}}, "WORKER_NUMBER names 'a'"),
}


def test_what_is_wrong_in_tasks_is_reported_and_raises_nothing() -> None:
    entries = {
        alias: {"BACKEND": f"{OURS}.SimpleTaskBackend", **e} for alias, (e, _) in WRONG.items()
    }
    right = {"BACKEND": f"{OURS}.SimpleTaskBackend"}
    messages = messages_of(
        {"default": right, **entries},
        """
        def call(): ...

        for alias in settings.TASKS:
            schedule("0 6 * * *", name=alias)(task(backend=alias)(call))
        """,
    )

    texts = [text for number, text in messages if number == OPTIONS_ID]
    for alias, (_, text) in WRONG.items():
        assert [t for t in texts if t.startswith(f"TASKS[{alias!r}]: ") and text in t], (
            alias,
            texts,
        )
    assert len(texts) == len(messages) == len(WRONG) + 1  # QUEUES of the last one
