"""A node refuses to start where a table or a column of its models is missing, and says why."""

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connections

from django_simpletask3.db.errors import MissingSchema
from django_simpletask3.management.schema_check import missing_schema
from django_simpletask3.monitoring import problems
from tests.projects import INVOICE, Project, sqlite
from tests.steps import TASK_MODELS
from tests.testapp.models import Elsewhere

SERVER = ("django-simpletask3-server", "--burst")


@pytest.fixture
def project(tmp_path: Path, redis_url: str) -> Project:
    """A project with a task model, its first migration, and an empty database."""
    prefix = f"{settings.DJANGO_SIMPLETASK3_SIMQ_PREFIX}-unmigrated"
    project = Project(tmp_path, sqlite(tmp_path), redis_url, prefix)
    project.models(INVOICE)
    project.manage("makemigrations", "app")
    return project


@pytest.mark.once
def test_a_node_names_the_migrations_that_are_not_applied(project: Project) -> None:
    output = project.manage_fails(*SERVER, "-v0")
    status = project.run_python("manage.py", "django-simpletask3-status")

    assert len(output.splitlines()) == 1
    assert "run manage.py migrate (app.0001_initial" in output
    assert "has unapplied migrations: run manage.py migrate (no such table" in status.text
    assert "does not answer" not in status.text


@pytest.mark.once
def test_a_missing_column_is_named_whether_or_not_it_has_a_migration(project: Project) -> None:
    project.manage("migrate")
    project.models(INVOICE + "\n    paid = models.IntegerField(default=0)\n")

    without = project.manage_fails(*SERVER, "-v0")
    project.manage("makemigrations", "app", "--name", "paid")
    with_migration = project.manage_fails(*SERVER, "-v0")
    project.manage("migrate")

    assert "run manage.py makemigrations, then migrate (no such column" in without
    assert "run manage.py migrate (app.0002_paid)" in with_migration
    assert "stopped" in project.manage(*SERVER)


@pytest.mark.django_db
def test_nothing_is_missing_in_a_migrated_database() -> None:
    assert missing_schema(TASK_MODELS) == ""


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_lacks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = {**connections["other"].settings_dict, "NAME": "/nowhere/at-all", "PORT": "1"}
    connections["other"].close()
    monkeypatch.setattr(connections["other"], "settings_dict", nowhere)

    assert missing_schema([Elsewhere]) == ""


@pytest.mark.parametrize("in_full", [True, False])
def test_a_database_without_a_table_is_not_one_that_does_not_answer(in_full: bool) -> None:
    error: Any = MissingSchema("no such table: app_t")

    sentence = problems.unreachable_database("default", error).translate(in_full=in_full)

    assert sentence.startswith("The database 'default' has unapplied migrations")
    assert ("no such table" in sentence) == in_full
