"""A project with a task that has events, and those events as a test expects them."""

from typing import Any

from tests.projects import INVOICE, TRANSFER, Project

BILL = INVOICE.replace("Invoice", "Bill")
NOTED = "amount = models.IntegerField(default=0)\n    remark = models.TextField(default='')"
BILL_WITH_NOTE = BILL.replace("amount = models.IntegerField(default=0)", NOTED)
PAYMENT = TRANSFER.replace("Transfer(", "Payment(").replace("app.Transfer", "app.Payment")
PAYMENT = PAYMENT.replace("app.PaymentRecord", "app.TransferRecord")

ENQUEUE = """
task = {model}.objects.create()
task.note("looked at")
result = task.pk
"""
AUDIT = """
from django_simpletask3.ledger.projection import Projection, broken_links, fold
result = []
for task in {model}.objects.all():
    stream = list(task.events.all())
    result.append({{
        "kinds": [event.kind for event in stream],
        "broken": broken_links(stream),
        "differences": fold(stream).differences(Projection.of(task)),
    }})
"""
SOUND = {"kinds": ["enqueue", "note"], "broken": [], "differences": {}}


def migrated(project: Project, *models: str) -> Project:
    """Write these models to ``project`` and migrate."""
    project.models(*models)
    project.manage("makemigrations", "app")
    project.manage("migrate", "-v0")
    return project


def with_history(project: Project, *models: str, task: str = "Invoice") -> Project:
    """Write these models to ``project``, migrate, and create a task with two events."""
    migrated(project, *(models or [INVOICE]))
    project.shell(ENQUEUE.format(model=task))
    return project


def audit(project: Project, model: str) -> Any:
    """The event kinds, broken links and differences of each task of ``model``."""
    return project.shell(AUDIT.format(model=model))


def is_complete(project: Project) -> bool:
    """Whether makemigrations finds no changes."""
    return project.run_python("manage.py", "makemigrations", "--check", "--dry-run").code == 0
