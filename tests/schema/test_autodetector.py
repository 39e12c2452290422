"""A renamed task model keeps its rows and events, however one writes the migration."""

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

RENAME = "django-simpletask3-rename"
ORDER = INVOICE.replace("Invoice", "Order")
PURCHASE = INVOICE.replace("Invoice", "Purchase")


def renamed(migration: str) -> list[tuple[str, str]]:
    """The old and new names of the first two renames."""
    return re.findall(r"old_name='(\w+)',\s+new_name='(\w+)',\s+\)", migration)[:2]


def is_kept(project: Project, model: str = "Bill") -> bool:
    """Whether the events are under the new name and no changes are left to migrate."""
    project.manage("migrate", "-v0")
    assert audit(project, model) == [SOUND]
    return is_complete(project)


@pytest.mark.parametrize("after", [BILL, BILL_WITH_NOTE], ids=["alone", "with a column"])
def test_one_answer_renames_the_events_too(project: Project, after: str) -> None:
    with_history(project)
    project.models(after)

    output = project.manage("makemigrations", "app", answers="y\n")

    assert output.count("[y/N]") == 1
    assert renamed(project.newest()) == [("Invoice", "Bill"), ("InvoiceEvent", "BillEvent")]
    assert "DeleteModel" not in project.newest()
    assert is_kept(project)


@pytest.mark.parametrize("after", [BILL, BILL_WITH_NOTE], ids=["alone", "with a column"])
def test_the_command_writes_the_migration_without_asking(project: Project, after: str) -> None:
    with_history(project)
    project.models(after)

    project.manage(RENAME, "app.Invoice", "Bill", "--noinput")

    assert renamed(project.newest()) == [("Invoice", "Bill"), ("InvoiceEvent", "BillEvent")]
    assert "DeleteModel" not in project.newest()
    assert is_kept(project)


def test_the_rename_can_be_undone(project: Project) -> None:
    # Django fails on its content types here if the app does not depend on them.
    project.edit("settings.py", '"django.contrib.auth", "django.contrib.contenttypes", ', "")
    with_history(project)
    project.models(BILL)
    project.manage(RENAME, "app.Invoice", "Bill", "--noinput")
    project.manage("migrate", "-v0")

    project.manage("migrate", "app", "0001", "-v0")

    project.models(INVOICE)
    assert audit(project, "Invoice") == [SOUND]


def test_the_streams_of_two_models_are_not_mixed_up(project: Project) -> None:
    migrated(project, INVOICE, ORDER)
    project.shell("Order.objects.create().note('ordered'); result = Invoice.objects.create().pk")
    project.models(BILL, PURCHASE)

    output = project.manage("makemigrations", "app", answers="n\ny\ny\n")

    assert output.count("[y/N]") == 3  # is it Invoice -> Bill? Order -> Bill? Invoice -> Purchase?
    project.manage("migrate", "-v0")
    assert [task["kinds"] for task in audit(project, "Bill")] == [["enqueue", "note"]]
    assert [task["kinds"] for task in audit(project, "Purchase")] == [["enqueue"]]
    assert is_complete(project)


def test_a_custom_event_model_keeps_its_name(project: Project) -> None:
    with_history(project, TRANSFER, task="Transfer")
    project.models(PAYMENT)

    project.manage(RENAME, "app.Transfer", "Payment", "--noinput")

    assert is_kept(project, "Payment")


def test_a_custom_event_model_may_be_renamed_alone(project: Project) -> None:
    with_history(project, TRANSFER, task="Transfer")
    project.models(TRANSFER.replace("TransferRecord", "TransferLog"))

    project.manage("makemigrations", "app", answers="y\n")

    assert is_kept(project, "Transfer")


@pytest.mark.parametrize(
    ("before", "arguments", "hint"),
    [
        pytest.param([INVOICE], ["app.Invoice", "Bill"], "Rename the class first", id="not yet"),
        pytest.param([BILL], ["app.Order", "Bill"], "No migration creates", id="unknown"),
        pytest.param([BILL], ["Invoice", "Bill"], "Name the model with its app", id="no app"),
        pytest.param([BILL], ["apps.Invoice", "Bill"], "No installed app", id="wrong app"),
    ],
)
def test_the_command_rejects_wrong_names(
    project: Project, before: list[str], arguments: list[str], hint: str
) -> None:
    migrated(project, INVOICE)
    project.models(*before)

    assert hint in project.manage_fails(RENAME, *arguments, "--noinput")

    assert len(project.migrations()) == 1


def test_no_other_model_is_affected(project: Project) -> None:
    plain = "\nclass Customer(models.Model):\n    name = models.TextField()\n"
    migrated(project, INVOICE, plain)
    project.models(INVOICE, plain.replace("Customer", "Client"))

    project.manage("makemigrations", "app", answers="y\n")

    assert "RenameModel" in project.newest()
    assert is_complete(project)


def test_a_folder_may_be_renamed_if_its_label_stays(project: Project) -> None:
    with_history(project)
    (project.folder / "app").rename(project.folder / "billing")
    project.write(
        "billing/apps.py",
        "from django.apps import AppConfig\n\n"
        "class Billing(AppConfig):\n    name = 'billing'\n    label = 'app'\n",
    )
    project.edit("settings.py", '"app"', '"billing"')

    assert is_complete(project)

    assert audit(project, "Invoice") == [SOUND]
