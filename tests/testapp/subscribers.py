"""A durable subscriber for workers that tests start."""

import os
from typing import Any

from django_simpletask3.subscriptions import subscribe
from tests.testapp.models import Invoice
from tests.testapp.scripts import append, wait_for_ever


def subscribe_and_append_to(path: str) -> None:
    """Subscribe a handler that appends each event of an invoice to ``path``.

    With SIMPLETASK3_TEST_EVENT_LOG_HANGS it then waits for ever.
    """

    def append_event(task: Any, event: Any) -> None:
        append(path, f"{event.task_id} {event.kind}")
        if os.environ.get("SIMPLETASK3_TEST_EVENT_LOG_HANGS"):
            wait_for_ever()

    subscribe("testapp", Invoice)(append_event)
