"""A project with an invoice that has a history, and that history as it must be found again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.projects import INVOICE, TRANSFER, Project, own_database, sqlite

BILL = INVOICE.replace("Invoice", "Bill")
NOTED = "amount = models.IntegerField(default=0)\n    note = models.TextField(default='')"
BILL_WITH_NOTE = BILL.replace("amount = models.IntegerField(default=0)", NOTED)
PAYMENT = TRANSFER.replace("Transfer(", "Payment(").replace("app.Transfer", "app.Payment")
PAYMENT = PAYMENT.replace("app.PaymentRecord", "app.TransferRecord")

ENQUEUE = """
task = {model}.objects.create()
task.note("looked at")
told = task.pk
"""
AUDIT = """
from django_simpletask3.ledger.projection import Projection, broken_links, fold
told = []
for task in {model}.objects.all():
    stream = list(task.events.all())
    told.append({{
        "kinds": [event.kind for event in stream],
        "broken": broken_links(stream),
        "differences": fold(stream).differences(Projection.of(task)),
    }})
"""
SOUND = {"kinds": ["enqueue", "note"], "broken": [], "differences": {}}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them take long; those without a server need none."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            on_server = "server_project" in getattr(item, "fixturenames", ())
            item.add_marker(pytest.mark.thorough if on_server else pytest.mark.once)


@pytest.fixture
def project(tmp_path: Path, redis_url: str) -> Project:
    """An empty project on SQLite."""
    prefix = f"{settings.DJANGO_SIMPLETASK3_SIMQ_PREFIX}-renames"
    return Project(tmp_path, sqlite(tmp_path), redis_url, prefix)


@pytest.fixture
def server_project(tmp_path: Path, redis_url: str, transactional_db: None) -> Iterator[Project]:
    """An empty project on the database of this run, in tables of its own."""
    prefix = f"{settings.DJANGO_SIMPLETASK3_SIMQ_PREFIX}-renames"
    with own_database(tmp_path) as database:
        yield Project(tmp_path, database, redis_url, prefix)


def migrated(project: Project, *models: str) -> Project:
    """``project`` with these models, and their tables."""
    project.models(*models)
    project.manage("makemigrations", "app")
    project.manage("migrate", "-v0")
    return project


def with_history(project: Project, *models: str, task: str = "Invoice") -> Project:
    """``project`` with these models, and a task that has two events."""
    migrated(project, *(models or [INVOICE]))
    project.shell(ENQUEUE.format(model=task))
    return project


def audit(project: Project, model: str) -> Any:
    """What the tasks of ``model`` and their events look like."""
    return project.shell(AUDIT.format(model=model))


def is_complete(project: Project) -> bool:
    """Whether makemigrations has nothing more to say."""
    return project.try_to("manage.py", "makemigrations", "--check", "--dry-run").code == 0
