"""Write whole projects to disk, change their models and run their manage.py."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from django.db import connection

from tests.project.sources import ROOT

MANAGE = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
SETTINGS = """
SECRET_KEY = "only for tests"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth", "django.contrib.contenttypes", "django_simpletask3", "app",
]
DATABASES = {{"default": {database!r}}}
DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = {redis!r}
DJANGO_SIMPLETASK3_SIMQ_PREFIX = {prefix!r}
"""
READY = """
import json, os
import django
from django.apps import apps
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
django.setup()
globals().update({model.__name__: model for model in apps.get_app_config("app").get_models()})
"""
HEAD = """
from django.db import models
from django_simpletask3.models import SimpleTask, TaskEvent, task_foreign_key
"""
INVOICE = """
class Invoice(SimpleTask):
    amount = models.IntegerField(default=0)

    def do_task(self):
        return "paid"
"""
TRANSFER = """
class Transfer(SimpleTask):
    django_simpletask3_event_model = "app.TransferRecord"

    def do_task(self):
        return "moved"


class TransferRecord(TaskEvent):
    task = task_foreign_key("app.Transfer")
    clerk = models.CharField(max_length=32, blank=True)

    class Meta(TaskEvent.Meta):
        pass
"""


@dataclass(frozen=True)
class CommandOutput:
    """What a command output, and its exit code."""

    code: int
    text: str


@dataclass(frozen=True)
class Project:
    """A folder with a manage.py and an app called ``app``."""

    folder: Path
    database: dict[str, Any]
    redis: str
    prefix: str
    #: An interpreter that sees this checkout, or one that has another release.
    python: str = sys.executable
    app: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "app", self.folder / "app")
        (self.app / "migrations").mkdir(parents=True, exist_ok=True)
        (self.app / "__init__.py").touch()
        (self.app / "migrations" / "__init__.py").touch()
        self.write("manage.py", MANAGE)
        self.write(
            "settings.py",
            SETTINGS.format(database=self.database, redis=self.redis, prefix=self.prefix),
        )

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text(encoding="utf-8")
        assert old in text
        self.write(name, text.replace(old, new))

    def models(self, *texts: str) -> None:
        """Write the models of the app."""
        self.write("app/models.py", HEAD + "\n".join(texts))

    def run_python(self, *command: str, answers: str = "") -> CommandOutput:
        if self.python == sys.executable:
            return forked(self.folder, command, answers)
        done = subprocess.run(
            [self.python, *command],
            cwd=self.folder,
            env=environment(self.python),
            input=answers,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        return CommandOutput(done.returncode, done.stdout)

    def manage(self, *arguments: str, answers: str = "") -> str:
        """Run a command that must succeed; return its output."""
        output = self.run_python("manage.py", *arguments, answers=answers)
        assert output.code == 0, output.text
        return output.text

    def manage_fails(self, *arguments: str, answers: str = "") -> str:
        """Run a command that must fail with a CommandError; return its output."""
        output = self.run_python("manage.py", *arguments, answers=answers)
        assert output.code == 1, output.text
        assert "CommandError" in output.text, output.text
        assert "Traceback" not in output.text, output.text
        return output.text

    def shell(self, code: str) -> Any:
        """Run ``code`` in the project; return the value of its variable ``result``, via JSON."""
        after = "\nprint(json.dumps(result, default=str))"
        output = self.run_python("-c", f"{READY}{code}{after}")
        assert output.code == 0, output.text
        return json.loads(output.text.splitlines()[-1])

    def migrations(self) -> list[Path]:
        return sorted((self.app / "migrations").glob("0*.py"))

    def newest(self) -> str:
        """The text of the newest migration."""
        return self.migrations()[-1].read_text(encoding="utf-8")


@cache
def fork_server() -> subprocess.Popen[str]:
    """The process of this session that commands are forked from; it ends with the session."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.commands"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def forked(folder: Path, command: tuple[str, ...], answers: str) -> CommandOutput:
    """Run a command of this interpreter in a fork of the fork server."""
    source, sink = folder / ".input", folder / ".output"
    source.write_text(answers, encoding="utf-8")
    asked = {
        "command": command,
        "folder": str(folder),
        "environment": environment(sys.executable),
        "input": str(source),
        "output": str(sink),
        "timeout": 120,
    }
    pipes = fork_server()
    assert pipes.stdin is not None
    assert pipes.stdout is not None
    pipes.stdin.write(json.dumps(asked) + "\n")
    pipes.stdin.flush()
    code = int(pipes.stdout.readline())
    return CommandOutput(code, sink.read_text(encoding="utf-8"))


def environment(python: str) -> dict[str, str]:
    ours = ("COV_", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    path = {"PYTHONPATH": str(ROOT)} if python == sys.executable else {}
    return kept | path | {"PYTHONDONTWRITEBYTECODE": "1"}


def sqlite(folder: Path) -> dict[str, Any]:
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "db.sqlite3")}


@contextmanager
def own_database(folder: Path) -> Iterator[dict[str, Any]]:
    """An empty database of the kind of this run's, as Django's settings name it."""
    if connection.vendor == "sqlite":
        yield sqlite(folder)
        return
    name = f"test_project_{secrets.token_hex(4)}"
    taken = connection.settings_dict
    keys = ("ENGINE", "HOST", "PORT", "USER", "PASSWORD", "OPTIONS")
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {connection.ops.quote_name(name)}")
    yield {**{key: taken[key] for key in keys}, "NAME": name}
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"DROP DATABASE {connection.ops.quote_name(name)}")
