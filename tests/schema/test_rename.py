"""A renamed task model keeps what the tables of the package hold about its tasks."""

from typing import Any

import pytest

from tests.projects import INVOICE, Project
from tests.schema.project_history import BILL, migrated

AWAITED = "(SimpleTask):\n    django_simpletask3_can_be_awaited = True\n"
RENAME = "django-simpletask3-rename"
#: A task that waits for another one, a place in a line, and a delivery that is due.
REFERENCES = """
import uuid
from django.utils import timezone
from django_simpletask3.limits.tables import LimitGate, LimitWaiter
from django_simpletask3.ledger.outbox import Delivery
prerequisite = Invoice.objects.create()
Invoice().after(prerequisite).save()
key, now = str(prerequisite.pk), timezone.now()
for name in ["app.Invoice", "stripe"]:
    gate = LimitGate.objects.create(name=name, key=uuid.uuid5(uuid.NAMESPACE_OID, name))
LimitWaiter.objects.create(
    gate=gate, model="app.Invoice", task_key=key, add_time=now, block_time=now)
Delivery.objects.create(
    subscription="mail", model="app.Invoice", task_key=key, sequence=1, kind="enqueue",
    event_time=now)
result = None
"""
LABELS = """
from django.apps import apps
from django_simpletask3.limits.tables import LimitGate
result = {"gates": sorted(LimitGate.objects.values_list("name", flat=True))}
for model in apps.get_app_config("django_simpletask3").get_models():
    if {"model", "task_key"} <= {field.name for field in model._meta.fields}:
        result[model.__name__] = sorted(set(model.objects.values_list("model", flat=True)))
"""


@pytest.fixture
def renamed(project: Project) -> Project:
    """A project with references to the tasks of a model, which was renamed then."""
    migrated(project, INVOICE.replace("(SimpleTask):\n", AWAITED))
    project.shell(REFERENCES)
    project.models(BILL.replace("(SimpleTask):\n", AWAITED))
    project.manage(RENAME, "app.Invoice", "Bill", "--noinput")
    return project


def labels(project: Project) -> Any:
    """The names of the gates, and the models that each table of the package names."""
    found = project.shell(LABELS)
    return {table: names for table, names in found.items() if names}


def test_what_waits_for_a_renamed_task_finds_it(renamed: Project) -> None:
    before = labels(renamed)

    renamed.manage("migrate", "-v0")

    assert before.pop("gates") == ["app.Invoice", "stripe"]
    assert len(before) >= 3
    assert set(map(tuple, before.values())) == {("app.Invoice",)}
    assert labels(renamed) == {
        "gates": ["app.Bill", "stripe"],
        **{table: ["app.Bill"] for table in before},
    }


@pytest.mark.thorough
def test_a_unique_key_is_held_under_the_new_name(project: Project) -> None:
    unique = """
from django_simpletask3.models import UniqueTask
from django_simpletask3.unique import Unique
class Invoice(UniqueTask):
    django_simpletask3_unique = Unique("{amount}")
    amount = models.IntegerField(default=0)
    def do_task(self):
        return "paid"
"""
    migrated(project, unique)
    project.shell("result = Invoice.objects.create(amount=7).pk")
    project.models(unique.replace("class Invoice", "class Bill"))
    project.manage(RENAME, "app.Invoice", "Bill", "--noinput")
    project.manage("migrate", "-v0")

    refused = """
from django_simpletask3.exceptions import DuplicateTask
result = None
try:
    Bill.objects.create(amount=7)
except DuplicateTask as error:
    result = error.task.pk
"""
    assert project.shell(refused) == 1


@pytest.mark.thorough
def test_the_references_go_back_with_the_name(renamed: Project) -> None:
    renamed.manage("migrate", "-v0", "app")
    # Django fails on its content types here if the app does not depend on them.
    renamed.edit("settings.py", '"django.contrib.auth", "django.contrib.contenttypes", ', "")

    renamed.manage("migrate", "app", "0001", "-v0")

    found = labels(renamed)
    assert found.pop("gates") == ["app.Invoice", "stripe"]
    assert set(map(tuple, found.values())) == {("app.Invoice",)}


@pytest.mark.thorough
def test_the_statements_can_be_printed(renamed: Project) -> None:
    printed = renamed.manage("sqlmigrate", "app", "0002")

    assert "'app.Bill'" in printed
    assert labels(renamed)["gates"] == ["app.Invoice", "stripe"]


@pytest.mark.thorough
def test_a_database_without_the_tables_of_the_package_is_migrated(renamed: Project) -> None:
    renamed.manage("migrate", "-v0", "django_simpletask3", "zero")

    renamed.manage("migrate", "-v0", "app")

    assert "app_bill" in renamed.shell(
        "from django.db import connection\nresult = connection.introspection.table_names()"
    )
