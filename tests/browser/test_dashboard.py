"""The dashboard in a real browser: it keeps itself up to date, and disturbs no reader."""

import time
from typing import Any

import pytest
from django.urls import reverse

from django_simpletask3.queue import get_queue
from django_simpletask3.states import Status
from tests.browser.test_admin import DASHBOARD
from tests.steps import bring_to
from tests.testapp.models import Invoice

pytestmark = [pytest.mark.once, pytest.mark.django_db(transaction=True)]

QUEUE = "[id='queue-testapp.Invoice']"
#: The page of the browser has a clock of its own, which a test sets forward.
FIVE_SECONDS = 5000


def report(worker: str = "node-1:1:start") -> None:
    now = time.time()
    models = {"testapp.Invoice": {"threads": 3, "held": 1}}
    status = {"node": worker.partition(":")[0], "began": now, "time": now, "models": models}
    get_queue().report(worker, status)


def open_dashboard(browser: Any, root: Any, **options: Any) -> Any:
    """The dashboard, in a browser whose clock stands."""
    page = browser.page(root, **options)
    page.clock.install()
    page.goto(browser.url + reverse(DASHBOARD))
    page.wait_for_selector("text=live,")
    return page


def poll(page: Any) -> None:
    """Let the page read itself again."""
    with page.expect_response(lambda response: "/dashboard/live/" in response.url) as response:
        page.clock.run_for(FIVE_SECONDS)
    response.value.finished()
    page.clock.run_for(1)


def test_what_changes_is_shown_in_place(browser, root, redis_url) -> None:
    report()
    page = open_dashboard(browser, root)
    page.evaluate(f'window.row = document.querySelector("{QUEUE}")')
    bring_to(Invoice.objects.create(), Status.RUNNING)

    poll(page)

    page.wait_for_selector(f"{QUEUE} td[data-label=running] >> text=1")
    assert page.evaluate("window.row.isConnected")
    assert browser.complaints == []


def test_the_page_tells_the_time_in_the_time_zone_of_all_its_times(
    browser, root, redis_url
) -> None:
    report()
    page = open_dashboard(browser, root, timezone_id="Asia/Tokyo")
    opened = page.inner_text(".st3-live")
    opened_time = page.get_attribute(".st3-live", "data-st3-time")

    poll(page)

    assert opened == f"live, {opened_time}"
    time_read = page.get_attribute(".st3-live", "data-st3-time")
    assert page.inner_text(".st3-live") == f"live, {time_read}"


def test_what_is_open_and_typed_stays(browser, root, redis_url) -> None:
    report()
    bring_to(Invoice.objects.create(), Status.SUCCESS)
    page = open_dashboard(browser, root)
    page.click(".st3-chart summary")
    page.click(f"{QUEUE} .st3-command summary")
    page.wait_for_function("document.activeElement.name == 'reason'")
    page.keyboard.type("for lunch")
    bring_to(Invoice.objects.create(), Status.FAILED)

    poll(page)

    page.wait_for_selector(f"{QUEUE} >> text=50.0 %")
    assert page.locator(".st3-chart details[open]").count() == 1
    assert page.input_value(f"{QUEUE} input[name=reason]") == "for lunch"
    assert page.evaluate("document.activeElement.name") == "reason"


def test_rows_keep_their_places_and_a_new_problem_is_announced(browser, root, redis_url) -> None:
    report("node-2:1:start")
    page = open_dashboard(browser, root)
    report("node-1:1:start")
    get_queue().push(Invoice.get_event_channel(), [("odd", {})])
    (message,) = get_queue().claim(Invoice.get_event_channel(), worker="test", lease=60)
    get_queue().dead_letter(message, "no key")

    poll(page)

    page.wait_for_selector("[id='node-node-1']")
    rows = page.locator("[id^='node-node-']")
    assert [row.get_attribute("id") for row in rows.all()] == ["node-node-2", "node-node-1"]
    assert page.inner_text("[data-st3-status]") == "1 thing needs attention."
    assert page.locator("text=Messages that could not be delivered").count() == 1


def test_a_hidden_page_asks_for_nothing_and_an_error_is_shown(browser, root, redis_url) -> None:
    report()
    page = open_dashboard(browser, root)
    asked = [one for one in browser.requests if "/live/" in one]
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    page.clock.run_for(3 * FIVE_SECONDS)
    asked_while_hidden = [one for one in browser.requests if "/live/" in one]
    page.route("**/live/**", lambda route: route.abort())

    page.evaluate("Object.defineProperty(document, 'hidden', {value: false})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    page.wait_for_selector(".st3-stopped >> text=stopped at")
    assert asked == asked_while_hidden == []


def test_escape_closes_a_question_and_gives_the_focus_back(browser, root) -> None:
    page = browser.page(root)
    page.goto(browser.url + reverse(DASHBOARD))
    page.locator(f"{QUEUE} .st3-command summary").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.name == 'reason'")

    page.keyboard.press("Escape")

    assert page.locator(".st3-command[open]").count() == 0
    assert page.evaluate("document.activeElement.nodeName") == "SUMMARY"


def test_every_question_fits_on_a_small_screen(browser, root, redis_url) -> None:
    report()
    for name in ("odd", "other"):
        get_queue().push(Invoice.get_event_channel(), [(name, {})])
        (message,) = get_queue().claim(Invoice.get_event_channel(), worker="test", lease=60)
        get_queue().dead_letter(message, "no key")
    page = browser.page(root, viewport={"width": 360, "height": 800})
    page.goto(browser.url + reverse(DASHBOARD))

    edges = page.evaluate(
        """[...document.querySelectorAll(".st3-command")].map(question => {
            question.open = true;
            const box = question.querySelector("form").getBoundingClientRect();
            question.open = false;
            return [box.left, box.right];
        })"""
    )

    assert len(edges) > 4
    assert all(left >= 0 and right <= 360 for left, right in edges), edges
