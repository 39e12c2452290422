"""A project with an invoice that has a history, and that history as it must be found again."""

from typing import Any

from tests.projects import INVOICE, TRANSFER, Project

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
