"""Fixtures: protected event tables, and whole projects to migrate."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import IntegrityError, OperationalError, connection, connections, transaction

from django_simpletask3.ledger.tombstone import Tombstone
from tests.conftest import missing
from tests.migrated_app.models import Book
from tests.projects import Project, own_database, sqlite

REFUSED = "Events are append-only"
DRIVERS = {"postgresql": ["psycopg[binary]"], "mysql": ["mysqlclient"]}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests of whole projects; those on SQLite only run once."""
    for item in items:
        if item.path.parent != Path(__file__).parent:
            continue
        fixtures = getattr(item, "fixturenames", ())
        if "server_project" in fixtures:
            item.add_marker(pytest.mark.thorough)
        elif "project" in fixtures:
            item.add_marker(pytest.mark.once)


@pytest.fixture
def book(transactional_db: None) -> Book:
    """A task with two events."""
    task = Book.objects.create(title="Emma")
    task.note("read")
    return task


@contextmanager
def refused() -> Iterator[None]:
    """Expect the database to refuse a statement in the block, and roll the block back."""
    kind = OperationalError if connection.vendor == "mysql" else IntegrityError
    with pytest.raises(kind, match=REFUSED), transaction.atomic():
        yield


@contextmanager
def opened_tombstone(using: str = "default") -> Iterator[Tombstone]:
    """Open a tombstone in one transaction, as pruning does, and close it at the end."""
    with transaction.atomic(using=using):
        tombstone = Tombstone.objects.using(using).create(model="migrated_app.Book", scope="test")
        yield tombstone
        tombstone.is_open = False
        tombstone.save(update_fields=["is_open"])


def execute(sql: str, *params: Any, using: str = "default") -> int:
    """Execute a statement; return the number of rows."""
    db = connections[using]
    with db.cursor() as cursor:
        cursor.execute(sql, params or None)
        return int(cursor.rowcount)


def quoted(model: Any) -> str:
    return str(connection.ops.quote_name(model._meta.db_table))


@pytest.fixture
def project(tmp_path: Path, redis_url: str) -> Project:
    """An empty project on SQLite."""
    prefix = f"{settings.DJANGO_SIMPLETASK3_SIMQ_PREFIX}-schema"
    return Project(tmp_path, sqlite(tmp_path), redis_url, prefix)


@pytest.fixture
def server_project(tmp_path: Path, redis_url: str, transactional_db: None) -> Iterator[Project]:
    """An empty project on the database of this run, in its own tables."""
    prefix = f"{settings.DJANGO_SIMPLETASK3_SIMQ_PREFIX}-schema"
    with own_database(tmp_path) as database:
        yield Project(tmp_path, database, redis_url, prefix)


@pytest.fixture(scope="session")
def python_with_01(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with the real 0.1.3 from the package index."""
    folder = tmp_path_factory.mktemp("release-0.1.3")
    python = str(folder / "bin" / "python")
    wanted = ["django-simpletask3==0.1.3", "Django==5.2.*", *DRIVERS.get(connection.vendor, [])]
    # It does in seconds what pip does in a minute; CI has it outside of the PATH.
    if uv := os.environ.get("UV") or shutil.which("uv"):
        make = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)]
        install = [uv, "pip", "install", "--quiet", "--python", python]
    else:
        make = [sys.executable, "-m", "venv", str(folder)]
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run(make, check=True)
    done = subprocess.run(
        [*install, *wanted],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        missing(f"django-simpletask3 0.1.3 from a package index: {done.stdout[-500:]}")
    return python
