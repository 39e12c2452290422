"""Migrations drop no events by accident; DropHistory does it with a reason that is kept."""

import re

import pytest

from tests.projects import INVOICE, TRANSFER, Project
from tests.schema.project_history import (
    BILL,
    BILL_WITH_NOTE,
    PAYMENT,
    SOUND,
    audit,
    is_complete,
    migrated,
    with_history,
)

ORDER = INVOICE.replace("Invoice", "Order")
RENAME_IT = "django-simpletask3-rename app.Invoice Bill"
# The migration that Django alone writes for a renamed class.
DROPS = """
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("app", "0001_initial")]
    operations = [migrations.DeleteModel("InvoiceEvent"), migrations.DeleteModel("Invoice")]
"""
TOMBSTONES = """
from django_simpletask3.ledger.tombstone import Tombstone
result = list(Tombstone.objects.values("model", "scope", "reason", "tasks", "events", "is_open"))
"""


@pytest.mark.parametrize("after", [BILL, BILL_WITH_NOTE], ids=["alone", "with a column"])
def test_makemigrations_without_input_stops(project: Project, after: str) -> None:
    with_history(project)
    project.models(after)

    output = project.manage_fails("makemigrations", "app", "--noinput")

    assert RENAME_IT in output
    assert "the table of app.InvoiceEvent" in output
    assert len(project.migrations()) == 1
    assert "have changes that are not yet reflected" in project.manage("migrate")


def test_events_without_their_tasks_stop_makemigrations(project: Project) -> None:
    migrated(project, TRANSFER)
    project.models(PAYMENT)

    output = project.manage_fails("makemigrations", "app", "--noinput")

    assert "django-simpletask3-rename app.Transfer Payment" in output


def test_a_remaining_task_model_keeps_its_events(project: Project) -> None:
    migrated(project, TRANSFER)
    project.models(TRANSFER.replace("TransferRecord", "TransferLog"))

    output = project.manage_fails("makemigrations", "app", "--noinput")

    assert "app.Transfer itself remains" in output


def test_another_app_can_be_migrated_meanwhile(project: Project) -> None:
    migrated(project, INVOICE)
    project.models(BILL)

    assert "No changes" in project.manage("makemigrations", "django_simpletask3", "--noinput")


def test_the_user_may_deny_a_rename(project: Project) -> None:
    migrated(project, INVOICE)
    project.models(BILL_WITH_NOTE)

    project.manage("makemigrations", "app", answers="n\n")

    assert "DeleteModel" in project.newest()
    project.manage("migrate", "-v0")  # there were no events
    assert is_complete(project)


def test_migrate_does_not_drop_a_history_by_accident(server_project: Project) -> None:
    project = with_history(server_project)
    project.write("app/migrations/0002_drop.py", DROPS)

    output = project.manage_fails("migrate")

    assert "0002_drop would drop the history of app.Invoice" in output
    assert 'DropHistory("invoiceevent", reason="why")' in output
    assert audit(project, "Invoice") == [SOUND]


def test_a_history_goes_on_purpose_and_leaves_a_tombstone(server_project: Project) -> None:
    project = with_history(server_project, INVOICE, ORDER)
    project.models(ORDER)
    project.manage("makemigrations", "app", "--noinput")
    name = project.migrations()[-1].name
    project.manage_fails("migrate")
    add_drop_history(project, f"app/migrations/{name}")

    project.manage("migrate", "-v0")

    assert is_complete(project)
    tombstone = {"model": "app.Invoice", "scope": "stream", "reason": "no more invoices"}
    assert project.shell(TOMBSTONES) == [{**tombstone, "tasks": 1, "events": 2, "is_open": False}]


def add_drop_history(project: Project, name: str) -> None:
    """Edit the migration as the error message of migrate says."""
    text = (project.folder / name).read_text(encoding="utf-8")
    text = text.replace("import migrations", "import migrations\n" + IMPORT, 1)
    text = text.replace(
        "dependencies = [", 'dependencies = [("django_simpletask3", "0001_initial"), '
    )
    operation = 'DropHistory("invoiceevent", reason="no more invoices"), '
    text, count = re.subn(r"operations = \[", f"operations = [{operation}", text)
    assert count == 1
    project.write(name, text)


IMPORT = "from django_simpletask3.operations import DropHistory"


def test_a_table_renamed_by_the_same_plan_is_recognised(project: Project) -> None:
    with_history(project)
    project.write(
        "app/migrations/0002_drop.py",
        DROPS.replace(
            'migrations.DeleteModel("InvoiceEvent")',
            'migrations.RenameModel("InvoiceEvent", "X"), migrations.DeleteModel("X")',
        ),
    )

    assert "app.InvoiceEvent" in project.manage_fails("migrate")


def test_going_back_does_not_drop_a_history_either(project: Project) -> None:
    with_history(project)

    output = project.manage_fails("migrate", "app", "zero")
    assert "Reversing app.0001_initial would drop" in output

    project.manage("flush", "--noinput", "-v0")
    project.manage("migrate", "app", "zero", "-v0")


def test_a_database_without_rows_is_migrated_through_everything(project: Project) -> None:
    project.models(INVOICE)
    project.manage("makemigrations", "app")
    project.write("app/migrations/0002_drop.py", DROPS)

    project.manage("migrate", "-v0")
