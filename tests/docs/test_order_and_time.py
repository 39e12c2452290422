"""The pages about priorities and about tasks that run later."""

from typing import Any

import pytest

from django_simpletask3.db import clock
from django_simpletask3.queue import get_queue
from django_simpletask3.states import Status
from tests.docs.pages import Page
from tests.docs.test_how_to import defined_by, how_to
from tests.steps import has_message, kinds, row_of, status_of
from tests.testapp.models import Invoice

pytestmark = pytest.mark.django_db(transaction=True)


def run_block(page: Page, containing: str, **names: Any) -> dict[str, Any]:
    """What a block of the page defines; its model is Invoice."""
    code = page.block("python", containing)
    for model in ("Mail", "Reminder"):
        ours = f"from tests.testapp.models import Invoice as {model}"
        code = code.replace(f"from app.models import {model}", ours)
    return defined_by(code, **names)


def claimed(limit: int) -> list[str]:
    channel = Invoice.get_event_channel()
    messages = get_queue().claim(channel, worker="w", lease=60, limit=limit)
    get_queue().ret_many(messages)
    return [message.id for message in messages]


def test_the_tasks_of_the_page_about_priorities_run_in_its_order(redis_url: str) -> None:
    page = how_to("run-by-priority")
    tasks = run_block(page, "password_reset =")
    first = [tasks["password_reset"], tasks["receipt"], *tasks["newsletter"][:2]]
    before = claimed(4)

    run_block(page, "newsletter[0].save()", **tasks)

    assert before == [task.get_task_id() for task in first]
    assert claimed(3) == [first[number].get_task_id() for number in (0, 2, 1)]


def test_the_reminders_of_the_page_wait_and_are_moved(redis_url: str) -> None:
    page = how_to("run-later")
    tasks = run_block(page, "at_nine =")
    waits = [row_of(tasks[name]).run_after for name in ("in_half_a_minute", "in_three_days")]
    now = clock.now("default")

    run_block(page, "at_nine.cancel", **tasks)
    run_block(page, "timedelta(days=1)", **tasks)

    assert [(moment - now).total_seconds() for moment in waits] == pytest.approx(
        [30, 3 * 86400], abs=20
    )
    assert row_of(tasks["at_nine"]).run_after.isoformat().startswith("2099-01-07T08:00")
    assert (row_of(tasks["in_three_days"]).run_after - now).days in (5, 6)
    assert [has_message(tasks[name]) for name in ("in_half_a_minute", "in_three_days")] == [
        True,
        False,
    ]
    assert status_of(tasks["at_nine"]) is Status.CANCELED
    assert kinds(tasks["at_nine"]) == ["enqueue", "cancel"]
