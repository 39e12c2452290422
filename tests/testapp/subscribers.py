"""A durable subscriber for servers that tests start."""

import os
from typing import Any

from django_simpletask3.subscriptions import subscribe
from tests.testapp.models import Invoice
from tests.testapp.scripts import append, wait_for_ever


def write_into(path: str) -> None:
    """Note every event of an invoice, and then, if that is asked for, hang."""

    def note(task: Any, event: Any) -> None:
        append(path, f"{event.task_id} {event.kind}")
        if os.environ.get("SIMPLETASK3_TEST_DIARY_HANGS"):
            wait_for_ever()

    subscribe("testapp", Invoice)(note)
