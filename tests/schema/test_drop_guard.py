"""No history goes by accident, and one goes on purpose with a reason that stays."""

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
# What Django without us writes for a class that was renamed.
DROPS = """
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("app", "0001_initial")]
    operations = [migrations.DeleteModel("InvoiceEvent"), migrations.DeleteModel("Invoice")]
"""
TOMBSTONES = """
from django_simpletask3.ledger.tombstone import Tombstone
told = list(Tombstone.objects.values("model", "scope", "reason", "tasks", "events", "is_open"))
"""


@pytest.mark.parametrize("after", [BILL, BILL_WITH_NOTE], ids=["alone", "with a column"])
def test_makemigrations_that_cannot_ask_stops(project: Project, after: str) -> None:
    with_history(project)
    project.models(after)

    said = project.stopped("makemigrations", "app", "--noinput")

    assert RENAME_IT in said
    assert "the table of app.InvoiceEvent" in said
    assert len(project.migrations()) == 1
    assert "have changes that are not yet reflected" in project.manage("migrate")


def test_events_whose_tasks_would_go_stop_makemigrations(project: Project) -> None:
    migrated(project, TRANSFER)
    project.models(PAYMENT)

    said = project.stopped("makemigrations", "app", "--noinput")

    assert "django-simpletask3-rename app.Transfer Payment" in said


def test_a_task_that_lives_on_keeps_its_events(project: Project) -> None:
    migrated(project, TRANSFER)
    project.models(TRANSFER.replace("TransferRecord", "TransferLog"))

    said = project.stopped("makemigrations", "app", "--noinput")

    assert "app.Transfer itself remains" in said


def test_another_app_can_be_migrated_meanwhile(project: Project) -> None:
    migrated(project, INVOICE)
    project.models(BILL)

    assert "No changes" in project.manage("makemigrations", "django_simpletask3", "--noinput")


def test_a_no_is_believed(project: Project) -> None:
    migrated(project, INVOICE)
    project.models(BILL_WITH_NOTE)

    project.manage("makemigrations", "app", answers="n\n")

    assert "DeleteModel" in project.newest()
    project.manage("migrate", "-v0")  # there were no events
    assert is_complete(project)


def test_migrate_does_not_drop_a_history_by_accident(server_project: Project) -> None:
    project = with_history(server_project)
    project.write("app/migrations/0002_drop.py", DROPS)

    said = project.stopped("migrate")

    assert "0002_drop would drop the history of app.Invoice" in said
    assert 'DropHistory("invoiceevent", reason="why")' in said
    assert audit(project, "Invoice") == [SOUND]


def test_a_history_goes_on_purpose_and_leaves_a_tombstone(server_project: Project) -> None:
    project = with_history(server_project, INVOICE, ORDER)
    project.models(ORDER)
    project.manage("makemigrations", "app", "--noinput")
    name = project.migrations()[-1].name
    project.stopped("migrate")
    grant(project, f"app/migrations/{name}")

    project.manage("migrate", "-v0")

    assert is_complete(project)
    stone = {"model": "app.Invoice", "scope": "stream", "reason": "no more invoices"}
    assert project.shell(TOMBSTONES) == [{**stone, "tasks": 1, "events": 2, "is_open": False}]


def grant(project: Project, name: str) -> None:
    """Edit the migration as the message of migrate says."""
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


def test_a_table_that_was_renamed_on_the_way_is_recognised(project: Project) -> None:
    with_history(project)
    project.write(
        "app/migrations/0002_drop.py",
        DROPS.replace(
            'migrations.DeleteModel("InvoiceEvent")',
            'migrations.RenameModel("InvoiceEvent", "X"), migrations.DeleteModel("X")',
        ),
    )

    assert "app.InvoiceEvent" in project.stopped("migrate")


def test_going_back_does_not_drop_a_history_either(project: Project) -> None:
    with_history(project)

    said = project.stopped("migrate", "app", "zero")
    assert "Reversing app.0001_initial would drop" in said

    project.manage("flush", "--noinput", "-v0")
    project.manage("migrate", "app", "zero", "-v0")


def test_a_database_without_rows_is_migrated_through_everything(project: Project) -> None:
    project.models(INVOICE)
    project.manage("makemigrations", "app")
    project.write("app/migrations/0002_drop.py", DROPS)

    project.manage("migrate", "-v0")
