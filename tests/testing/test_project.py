"""The page about tests, followed in a new project: without Redis, on each database."""

import secrets
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from django_simpletask3.contrib.tasks.framework import framework
from tests.docs.test_how_to import how_to
from tests.projects import forked

PAGE = how_to("test-your-tasks")
pytestmark = pytest.mark.thorough
SETTINGS = """
INSTALLED_APPS += [
    "django_simpletask3", "django_simpletask3.contrib.tasks", "shop.apps.ShopConfig",
]
DATABASES = {{"default": {database!r}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TASKS = {{"default": {{"BACKEND": "django_simpletask3.contrib.tasks.SimpleTaskBackend"}}}}
DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:1/0"
DJANGO_SIMPLETASK3_SIMQ_PREFIX = "shop"
"""
ADMIN = """
from django.contrib import admin
from django_simpletask3.admin import SimpleTaskAdmin
from .models import Confirmation
admin.site.register(Confirmation, SimpleTaskAdmin)
"""


def database() -> dict[str, Any]:
    """A database of this run's server, or one in memory, for the runner to create."""
    if connection.vendor == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    keys = ("ENGINE", "HOST", "PORT", "USER", "PASSWORD", "OPTIONS")
    settings = {key: connection.settings_dict[key] for key in keys}
    return {**settings, "NAME": f"project_{secrets.token_hex(4)}"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app of the page, in a project as startproject makes it."""
    folder = tmp_path_factory.mktemp("shop")
    call_command("startproject", "pro", str(folder))
    app = folder / "shop"
    app.mkdir()
    call_command("startapp", "shop", str(app))
    with (folder / "pro" / "settings.py").open("a", encoding="utf-8") as file:
        file.write(SETTINGS.format(database=database()))
    blocks = PAGE.blocks("python")
    modules = [block for block in blocks if block.startswith("# shop/")]
    recipes = [block for block in blocks if block.startswith("class ")]
    for text in modules:
        name = text.partition("\n")[0].removeprefix("# ")
        more = recipes if name == "shop/tests.py" else []
        code = "\n\n".join([text, *more]).replace("from django.tasks", f"from {framework().name}")
        (folder / name).write_text(code, encoding="utf-8")
    (app / "admin.py").write_text(ADMIN, encoding="utf-8")
    # There is no database yet, which the checks of Django 6.1 ask on MariaDB.
    options = ("--settings", "pro.settings", "--skip-checks")
    run(folder, "manage.py", "makemigrations", "shop", *options)
    return folder


def run(project: Path, *command: str) -> str:
    """The output of a command, which must succeed."""
    output = forked(project, command, "")
    assert output.code == 0, output.text
    return output.text


def test_the_recipes_of_the_page_pass(project: Path) -> None:
    recipes = [block for block in PAGE.blocks("python") if block.startswith("class ")]

    # Some servers need a program to copy their databases for several processes.
    parallel = ["--parallel", "2"] if connection.vendor == "sqlite" else []

    output = run(
        project, "manage.py", "test", "shop.tests", "--settings", "pro.settings", *parallel
    )

    assert f"Ran {sum(block.count('    def test_') for block in recipes)} tests" in output
    assert "redis" not in output.lower()


@pytest.mark.once
def test_the_tests_of_the_page_pass_with_pytest(project: Path) -> None:
    options = ["-p", "django_simpletask3.contrib.pytest_plugin", "--ds", "pro.settings"]

    output = run(project, "-c", f"import pytest; raise SystemExit(pytest.main({options!r}))")

    assert " passed" in output
