"""A task that was enqueued before its model was renamed runs after it."""

from tests.projects import INVOICE, Project
from tests.schema.project_history import BILL, migrated

MAKE_CHECK_DUE = """
from django.db import models
from django.utils import timezone
models.QuerySet(Bill).update(check_at=timezone.now())
result = None
"""
OUTCOME = """
task = Bill.objects.get()
result = [task.status, [[event.kind, event.reason] for event in task.events.all()]]
"""


def test_a_pending_task_is_pushed_under_its_new_name(project: Project) -> None:
    migrated(project, INVOICE)
    project.shell("result = Invoice.objects.create().pk")
    project.models(BILL)
    project.manage("django-simpletask3-rename", "app.Invoice", "Bill", "--noinput")
    project.manage("migrate", "-v0")
    project.shell(MAKE_CHECK_DUE)

    # The first worker may exit before recovery has pushed the task.
    for _ in range(2):
        project.manage("django-simpletask3-server", "--burst", "-v0")

    status, stream = project.shell(OUTCOME)
    assert status == 20
    assert stream == [["enqueue", ""], ["recover", "message_lost"], ["start", ""], ["ack", ""]]
