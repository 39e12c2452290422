"""What was queued under the old name runs under the new one."""

from tests.projects import INVOICE, Project
from tests.schema.project_history import BILL, migrated

WAIT_IS_OVER = """
from django.db import models
from django.utils import timezone
models.QuerySet(Bill).update(check_at=timezone.now())
told = None
"""
OUTCOME = """
task = Bill.objects.get()
told = [task.status, [[event.kind, event.reason] for event in task.events.all()]]
"""


def test_a_waiting_task_is_rung_for_under_its_new_name(project: Project) -> None:
    migrated(project, INVOICE)
    project.shell("told = Invoice.objects.create().pk")
    project.models(BILL)
    project.manage("django-simpletask3-rename", "app.Invoice", "Bill", "--noinput")
    project.manage("migrate", "-v0")
    project.shell(WAIT_IS_OVER)

    # The first may end before recovery has rung.
    for _ in range(2):
        project.manage("django-simpletask3-server", "--burst", "-v0")

    status, stream = project.shell(OUTCOME)
    assert status == 20
    assert stream == [["enqueue", ""], ["recover", "message_lost"], ["start", ""], ["ack", ""]]
