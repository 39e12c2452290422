"""A list of tasks that is open while its tasks change."""

from typing import Any

import pytest

from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.admin.pages import url
from tests.steps import bring_to
from tests.testapp.models import Invoice

pytestmark = [pytest.mark.once, pytest.mark.django_db(transaction=True)]


def open_list(browser: Any, root: Any, query: str = "", **options: Any) -> Any:
    """The page of the list; its clock stands still."""
    page = browser.page(root, **options)
    page.clock.install()
    page.goto(browser.url + url(Invoice) + query)
    return page


def poll(page: Any, milliseconds: int = 5000) -> None:
    with page.expect_response("**/live/**"):
        page.clock.fast_forward(milliseconds)


def row(task: Any) -> str:
    return f"tr[data-st3-key='{task.pk}']"


def test_rows_change_in_place(browser, root) -> None:
    waiting, running = Invoice.objects.create(), Invoice.objects.create()
    apply(running, EventKind.START, worker="app-1:7:x")
    page = open_list(browser, root)
    page.check(f"{row(waiting)} input")
    page.focus(f"{row(running)} a")
    page.evaluate("window.row = document.activeElement.closest('tr')")

    apply(waiting, EventKind.START, worker="app-2:7:x")
    apply(running, EventKind.NOTE, reason="page 3", data={"progress": 0.5})
    Invoice.objects.create()
    poll(page)
    page.wait_for_selector(f"{row(running)} progress[value='50']")
    page.evaluate("window.bar = window.row.querySelector('progress')")
    apply(running, EventKind.NOTE, reason="page 4", data={"progress": 0.75})
    poll(page)
    page.wait_for_selector(f"{row(running)} progress[value='75']")

    assert "running" in page.inner_text(f"{row(waiting)} .st3-pill")
    assert page.is_checked(f"{row(waiting)} input")
    assert page.evaluate("document.activeElement.closest('tr') === window.row")
    assert page.evaluate("window.bar.isConnected")
    keys = page.evaluate(
        "[...document.querySelectorAll('[data-st3-key]')].map(r => r.dataset.st3Key)"
    )
    assert keys == [str(running.pk), str(waiting.pk)]
    assert page.inner_text("[data-st3-count=running] b") == "2"
    assert page.inner_text("[data-st3-new]") == "1 new task"
    assert page.inner_text("[data-st3-list]").startswith("live, ")
    assert page.inner_text("[role=status]") == f"{waiting}: running"
    with page.expect_navigation():
        page.click("[data-st3-new]")
    assert page.locator("[data-st3-key]").count() == 3
    assert browser.complaints == []


def test_a_list_in_which_nothing_happens_is_not_polled_again(browser, root) -> None:
    task = bring_to(Invoice.objects.create(), Status.RUNNING)
    page = open_list(browser, root)
    apply(task, EventKind.ACK, worker="w1")

    poll(page)
    page.wait_for_selector(f"{row(task)} .st3-succeeded")
    page.wait_for_selector("[data-st3-list].st3-still")
    browser.requests.clear()
    page.clock.fast_forward(60_000)
    page.evaluate("1")

    assert browser.requests == []


def test_a_hidden_tab_is_not_polled(browser, root) -> None:
    bring_to(Invoice.objects.create(), Status.RUNNING)
    page = open_list(browser, root)
    page.evaluate("Object.defineProperty(document, 'hidden', { value: true, writable: true })")
    browser.requests.clear()

    page.clock.fast_forward(60_000)
    is_silent = browser.requests == []
    page.evaluate("document.hidden = false")
    poll(page)

    assert is_silent


def test_a_server_that_does_not_answer_is_asked_less_often(browser, root) -> None:
    bring_to(Invoice.objects.create(), Status.RUNNING)
    page = open_list(browser, root)
    page.route("**/live/**", lambda route: route.abort())

    for milliseconds in (5000, 10_000, 20_000, 30_000):
        with page.expect_event("requestfailed"):
            page.clock.fast_forward(milliseconds)
    stopped = page.inner_text("[data-st3-list]")
    page.unroute("**/live/**")
    poll(page, 30_000)
    page.wait_for_selector("[data-st3-list]:not(.st3-still)")

    assert stopped.startswith("stopped at ")


def test_filters_and_menus_are_reached_by_keyboard(browser, root) -> None:
    Invoice.objects.create(fails=True)
    Invoice.objects.create(fails=False)
    page = open_list(browser, root)

    page.focus(".st3-menu summary")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    with page.expect_navigation():
        page.keyboard.press("Enter")

    assert page.locator("[data-st3-key]").count() == 1
    assert "Yes" in page.inner_text(".st3-menu summary")


def test_a_row_has_one_line_where_there_is_room(browser, root) -> None:
    error = {"type": "ValueError", "message": "a long story " * 40}
    task = bring_to(Invoice.objects.create(), Status.FAILED, error_data=error)
    silent = bring_to(Invoice.objects.create(), Status.SUCCESS)
    page = open_list(browser, root, viewport={"width": 1280, "height": 800})

    wide = page.locator(row(task)).bounding_box()
    page.set_viewport_size({"width": 360, "height": 800})
    narrow = page.locator(row(task)).bounding_box()

    assert 35 <= wide["height"] <= 37
    assert narrow["height"] > 80
    assert page.locator(f"{row(silent)} th").bounding_box()["width"] > 100
    assert page.is_visible("#action-toggle")
