"""Five tasks of an operator, each in as few clicks as it should take."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from django_simpletask3 import control
from django_simpletask3.admin.html.times import format_moment
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.admin.pages import RETRY, url
from tests.browser.test_dashboard import QUEUE, report
from tests.steps import apply_kinds, bring_to, kinds, status_of, stream_of
from tests.testapp.models import Invoice

pytestmark = [pytest.mark.once, pytest.mark.django_db(transaction=True)]

FRAME = '  File "/srv/shop/mails.py", line 25, in send\n    smtp.connect()\n'
REFUSED = "ConnectionRefusedError"


class Operator:
    """Someone before a page; ``clicks`` are all that were needed so far."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.clicks = 0
        page.goto(address)

    def click(self, selector: str) -> None:
        self.clicks += 1
        self.page.click(selector)

    def follow(self, selector: str) -> None:
        """Click what leads to another page."""
        with self.page.expect_navigation():
            self.click(selector)

    def choose(self, selector: str, value: str) -> None:
        """Open a menu and choose from it."""
        self.clicks += 2
        self.page.select_option(selector, value)

    def type_into(self, selector: str, text: str) -> None:
        self.click(selector)
        self.page.fill(selector, text)

    def type_reason(self, text: str) -> None:
        """Type where the focus is: it begins at the reason."""
        self.page.wait_for_function("document.activeElement.name.endsWith('reason')")
        self.page.keyboard.type(text)


def failed(kind: str, message: str = "no", at: datetime | None = None) -> Invoice:
    error = {"type": kind, "message": message}
    error["traceback"] = f"Traceback (most recent call last):\n{FRAME}{kind}: {message}\n"
    task = bring_to(Invoice.objects.create(), Status.FAILED, error_data=error)
    if at is not None:
        Invoice.objects.filter(pk=task.pk).update_managed(done_time=at)
    return task


def test_find_why_a_task_failed(browser, root) -> None:
    failed("ValueError")
    task = failed(REFUSED, "smtp.example.com refuses")
    bring_to(Invoice.objects.create(), Status.SUCCESS)
    operator = Operator(browser.page(root), browser.url + url(Invoice))

    operator.follow("[data-st3-count=failed]")
    operator.follow(f"tr[data-st3-key='{task.pk}'] th a")

    head = operator.page.inner_text(".st3-head")
    assert f"{REFUSED}: smtp.example.com refuses" in head
    assert "nothing more happens unless it is retried" in head
    assert "mails.py, line 25, in send" in operator.page.inner_text(".st3-error")
    assert operator.clicks == 2


def test_cancel_a_running_task(browser, root) -> None:
    task = bring_to(Invoice.objects.create(), Status.RUNNING)
    Invoice.objects.create()
    operator = Operator(browser.page(root), browser.url + url(Invoice))

    operator.follow("[data-st3-count=running]")
    operator.follow(f"tr[data-st3-key='{task.pk}'] th a")
    operator.click(".st3-head >> text='Cancel…'")
    operator.type_reason("the wrong file")
    operator.follow("dialog[open] >> text='Cancel the task'")

    assert "Canceled at" in operator.page.inner_text(".st3-head")
    canceled = stream_of(task)[-1]
    assert (canceled.kind, canceled.actor, canceled.reason) == ("cancel", "root", "the wrong file")
    assert operator.clicks == 4


def test_retry_all_that_failed_since_nine_with_a_certain_error(browser, root) -> None:
    before, nine = (datetime(2026, 11, 28, *time, tzinfo=UTC) for time in ((8, 59), (9, 0)))
    refused = [failed(REFUSED, at=nine) for _ in range(3)]
    others = [failed(REFUSED, at=before), failed("ValueError", at=nine)]
    operator = Operator(browser.page(root), browser.url + url(Invoice))

    operator.follow("[data-st3-count=failed]")
    operator.type_into("[name=task-error]", REFUSED)
    operator.type_into("[name=task-since]", "2026-11-28T09:00")
    operator.follow("text='Filter'")
    operator.click("#action-toggle")
    operator.choose("select[name=action]", RETRY)
    operator.follow("button[name=index]")
    operator.type_reason("the server is back")
    operator.follow("text='Retry 3 tasks'")

    assert "3 tasks" in operator.page.inner_text(".messagelist")
    assert {status_of(task) for task in refused} == {Status.PENDING}
    assert {status_of(task) for task in others} == {Status.FAILED}
    assert operator.clicks == 9


def test_find_a_lost_worker_and_what_became_of_its_tasks(browser, root, redis_url) -> None:
    report()
    done, gone, waiting = (Invoice.objects.create() for _ in range(3))
    for task in (done, gone, waiting):
        apply(task, EventKind.START, worker="node-2:1:start")
        apply(task, EventKind.RECOVER, reason="worker_died", data={"lost_worker": task.worker})
    apply_kinds(done, EventKind.START, EventKind.ACK)
    apply_kinds(gone, EventKind.START, EventKind.FAIL)
    operator = Operator(browser.page(root), browser.url + reverse("admin:index"))

    operator.follow("text='Dashboard'")
    lost = operator.page.inner_text("#node-node-2")
    operator.follow("text='3 tasks were taken back'")

    loss = next(event for event in stream_of(done) if event.kind == EventKind.RECOVER)
    assert format_moment(loss.event_time, timezone.now(), seconds=False) in lost
    rows = operator.page.locator("tr:has-text('node-2 › 1 ended')").all_inner_texts()
    states = ("failed", "succeeded", "waiting")
    assert sorted(state for row in rows for state in states if state in row) == [*states]
    assert operator.clicks == 2


def test_pause_a_queue(browser, root, redis_url) -> None:
    report()
    waiting = Invoice.objects.create()
    operator = Operator(browser.page(root), browser.url + reverse("admin:index"))

    operator.follow("text='Dashboard'")
    operator.click(f"{QUEUE} >> text='Pause…'")
    operator.type_reason("month end")
    operator.follow(f"{QUEUE} >> text='Pause the queue'")

    assert "paused by root" in operator.page.inner_text(QUEUE)
    assert control.pause_of(Invoice).reason == "month end"
    assert kinds(waiting) == ["enqueue"]
    assert operator.clicks == 3
