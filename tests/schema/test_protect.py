"""Protected events in a whole project: renaming, and the project's own tests."""

from tests.projects import READY, Project
from tests.schema.project_history import BILL, SOUND, audit, is_complete, with_history

PROTECT = """
from django.db import migrations
from django_simpletask3.operations import ProtectEvents


class Migration(migrations.Migration):
    dependencies = [("app", "0001_initial"), ("django_simpletask3", "0001_initial")]
    operations = [ProtectEvents("invoiceevent")]
"""
OWN_TESTS = """
from django.db import DatabaseError, transaction
from django.test import TransactionTestCase
from app.models import Invoice, InvoiceEvent


class InvoiceTest(TransactionTestCase):
    def check_empty_and_protected(self):
        self.assertEqual((Invoice.objects.count(), InvoiceEvent.objects.count()), (0, 0))
        Invoice.objects.create()
        with self.assertRaisesMessage(DatabaseError, "append-only"), transaction.atomic():
            InvoiceEvent.objects.all()._raw_delete("default")

    test_a = test_b = check_empty_and_protected


class WithFixtures(InvoiceTest):
    serialized_rollback = True
"""


def protected(project: Project) -> Project:
    with_history(project)
    project.write("app/migrations/0002_protect.py", PROTECT)
    project.manage("migrate", "-v0")
    return project


def test_a_renamed_event_model_stays_protected(server_project: Project) -> None:
    project = protected(server_project)
    project.models(BILL)
    project.manage("django-simpletask3-rename", "app.Invoice", "Bill", "--noinput")

    project.manage("migrate", "-v0")

    output = project.run_python("-c", READY + 'BillEvent.objects.all()._raw_delete("default")')
    assert "Events are append-only" in output.text
    assert audit(project, "Bill") == [SOUND]
    assert "no issues" in project.manage("check", "--database", "default")
    assert is_complete(project)


def test_test_cases_of_a_project_start_with_empty_tables(server_project: Project) -> None:
    # Django cannot flush content types and use serialized_rollback in the same run.
    server_project.edit("settings.py", '"django.contrib.auth", "django.contrib.contenttypes", ', "")
    project = protected(server_project)
    project.write("app/tests.py", OWN_TESTS)

    output = project.manage("test", "--noinput")

    assert "Ran 4 tests" in output
