"""The admin in a real browser: what people see, hear, press and are refused."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from django_simpletask3 import control
from django_simpletask3.context import task_context
from django_simpletask3.ledger.task_row import task_reference
from django_simpletask3.models import AuditRun, Delivery
from django_simpletask3.queue import get_queue
from django_simpletask3.schedules.tables import Schedule, ScheduleTick, new_change_mark
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.admin.pages import CANCEL, RESET, RETRY, url
from tests.browser.accessibility import violations
from tests.steps import bring_to, kinds
from tests.testapp.models import Invoice, Reminder, Scripted

pytestmark = [pytest.mark.once, pytest.mark.django_db(transaction=True)]

COMMAND = "admin:django_simpletask3_dashboard_command"
DASHBOARD = "admin:django_simpletask3_dashboard_changelist"
LEDGER = "admin:django_simpletask3_ledger_changelist"
RECOVERIES = "admin:django_simpletask3_dashboard_recoveries"
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def lives() -> dict[str, Invoice]:
    """A task in every state, with a recovery, a result with parts, and an error."""
    tasks = {status.name: bring_to(Invoice.objects.create(), status) for status in Status}
    lost = bring_to(Invoice.objects.create(), Status.RUNNING)
    apply(lost, EventKind.RECOVER, reason="worker_died", data={"lost_worker": "node-1"})
    bring_to(lost, Status.SUCCESS, result={"sum": 3, "parts": [1, {"deep": [2]}]})
    error = {"type": "ValueError", "message": "no", "traceback": "Traceback ...\n  line 1"}
    raised = bring_to(Invoice.objects.create(), Status.FAILED, error_data=error)
    return {**tasks, "lost": lost, "raised": raised}


def business(task: Invoice, words: str = "odd") -> None:
    """What fills the dashboard: a worker, a pause, a dead letter, subscriptions; all of ``words``.

    ``task``, which runs, was enqueued without an actor and has a child.
    """
    queue, channel, now = get_queue(), Invoice.get_event_channel(), time.time()
    models = {"testapp.Invoice": {"threads": 3, "held": 1}}
    for worker in (task.worker, words):
        queue.report(worker, {"node": words, "began": now, "time": now, "models": models})
    queue.push(channel, [(words, {"app_label": words})])
    (message,) = queue.claim(channel, worker="test", lease=60)
    queue.dead_letter(message, words)
    with task_context(actor=words):
        control.pause(Reminder, reason=words)
    task.hold(words)
    found = {"model": "testapp.Invoice", "database": "default", "task": words, "sequence": 1}
    found |= {"problem": words, "detail": words, "repaired": False}
    tables = [{**found, "tasks": 1, "events": 1, "findings": 1, "repaired": 0}]
    now_time = timezone.now()
    AuditRun.objects.create(
        begin_time=now_time,
        end_time=now_time,
        actor=words,
        host=words,
        findings=1,
        tables=tables,
        found=[found],
    )
    timed = {"interval": timedelta(hours=1), "active_since": now_time, "reason": words[:255]}
    marked = {"change_mark": new_change_mark(), "enabled": words == "odd"}
    Schedule.objects.create(key=words[:100], target="testapp.Invoice", **timed, **marked)
    ScheduleTick.objects.create(
        schedule=words[:100],
        tick=now_time,
        outcome="fired",
        model="testapp.Invoice",
        task_key=str(task.pk),
        message=words,
    )
    child = Invoice.objects.create()
    Invoice.objects.filter(pk=child.pk).update_managed(parent=task_reference(task))
    for number, due in enumerate((timezone.now(), None)):
        columns = {
            "event_time": timezone.now(),
            "kind": "ack",
            "last_error": words,
            "due_time": due,
        }
        Delivery.objects.create(
            subscription=words[:100],
            model="testapp.Invoice",
            task_key="1",
            sequence=number,
            **columns,
        )


def pages(tasks: dict[str, Invoice]) -> dict[str, str]:
    return {
        "list": url(Invoice),
        "lost": url(tasks["lost"]),
        "raised": url(tasks["raised"]),
        "running": url(tasks["RUNNING"]),
        "dashboard": reverse(DASHBOARD),
        "recoveries": reverse(RECOVERIES),
        "ledger": reverse(LEDGER),
    }


def further_pages(tasks: dict[str, Invoice]) -> dict[str, str]:
    """Pages of those who may do more than look."""
    return {
        **pages(tasks),
        "add": url(Invoice, "add"),
        "delete": url(tasks["lost"], "delete"),
        "deliveries": url(Delivery),
        "schedules": url(Schedule),
    }


def go_to_the_confirmation(page: Any, root_url: str) -> None:
    """As a user does who selects all tasks of a list."""
    page.goto(root_url + url(Invoice))
    page.check("#action-toggle")
    page.select_option("select[name=action]", RESET)
    page.click("button[name=index]")
    page.wait_for_selector(".st3-effect")


def test_a_user_logs_in_and_follows_a_task_to_its_end(
    browser, root, start_server, tmp_path
) -> None:
    go = tmp_path / "go"
    wait = [{"do": "wait", "path": str(go)}, {"do": "value", "value": {"sum": 3}}]
    task = Scripted.objects.create(script=wait)
    page = browser.anonymous()
    page.goto(browser.url + url(task))
    page.fill("#id_username", "root")
    page.fill("#id_password", "secret")
    page.click("input[type=submit]")
    page.evaluate("window.never = 'reloaded'")
    page.wait_for_selector(".st3-head .st3-pill.st3-waiting")

    start_server()
    page.wait_for_selector(".st3-head .st3-pill.st3-running")
    go.touch()
    page.wait_for_selector(".st3-head .st3-pill.st3-succeeded")

    page.wait_for_selector(".st3-tree")
    assert page.locator(".st3-attempt").count() == 1
    assert page.locator(".st3-span.st3-succeeded").count() == 2  # the bar, and the legend
    assert page.evaluate("window.never") == "reloaded"
    assert "succeeded" in page.inner_text("[data-st3-event='3']")
    assert page.inner_text("[role=status]") == "succeeded"
    assert browser.complaints == []


def test_breadcrumbs_stand_where_those_of_django_do(browser, root) -> None:
    page = browser.page(root)
    places = []
    for name in (DASHBOARD, "admin:auth_user_changelist"):
        page.goto(browser.url + reverse(name))
        places.append(
            page.evaluate(
                """() => {
                    const crumbs = document.querySelector(".breadcrumbs");
                    const [home, app] = [...crumbs.querySelectorAll("a")]
                        .map(link => link.getBoundingClientRect());
                    return [crumbs.getBoundingClientRect().height, home.top, app.left - home.right]
                        .map(Math.round);
                }"""
            )
        )

    assert places[0] == places[1]


def test_a_page_on_which_nothing_happens_stands_still(browser, root) -> None:
    task = bring_to(Invoice.objects.create(), Status.RUNNING)
    task.note("half way", more="x" * 300)
    page = browser.page(root)
    page.goto(browser.url + url(task))
    row = "[data-st3-event='3'] details"
    page.evaluate(f"window.row = document.querySelector({row!r})")
    page.focus(f"{row} summary")
    page.keyboard.press("Enter")

    page.evaluate("getSelection().selectAllChildren(window.row.querySelector('pre'))")
    before = page.inner_text(".st3-live")
    for _ in range(2):
        page.wait_for_event("requestfinished", lambda one: one.url.endswith("/timeline/"))
    task.note("nearly done")
    page.wait_for_selector("[data-st3-event='4']")

    assert page.evaluate("window.row.isConnected")
    assert page.locator(f"{row}[open]").count() == 1
    assert page.evaluate("document.activeElement.closest('li').dataset.st3Event") == "3"
    assert "xxx" in page.evaluate("getSelection().toString()")
    assert page.inner_text(".st3-live") != before
    assert page.inner_text("[role=status]") == ""


def test_a_task_is_reset_with_a_reason_and_who_did_it_is_seen(browser, root) -> None:
    task = bring_to(Invoice.objects.create(), Status.FAILED)
    page = browser.page(root)
    page.goto(browser.url + url(Invoice))
    page.check(f"input[name=_selected_action][value='{task.pk}']")
    page.select_option("select[name=action]", RESET)
    page.click("button[name=index]")
    assert "The selected task runs again" in page.inner_text(".st3-effect")
    assert page.evaluate("document.activeElement.id") == "id_reason"
    page.keyboard.type("the bank is open again")
    page.click("text=Reset 1 task")

    said = page.inner_text(".messagelist")
    page.goto(browser.url + url(task))

    timeline = page.inner_text("[data-st3-part=events]")
    assert "1 task was reset" in said
    assert "root" in timeline
    assert "the bank is open again" in timeline
    assert kinds(task)[-1] == "reset"


def test_a_running_task_is_canceled_in_a_dialog_by_keyboard(browser, root) -> None:
    task = bring_to(Invoice.objects.create(), Status.RUNNING)
    page = browser.page(root)
    page.goto(browser.url + url(task))
    button = f".st3-head [data-st3-dialog='st3-ask-{CANCEL}']"
    focused = "document.activeElement.dataset.st3Dialog || document.activeElement.name"

    page.focus(button)
    page.keyboard.press("Enter")
    assert page.evaluate(focused) == "reason"
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate(focused) == f"st3-ask-{CANCEL}"
    page.keyboard.press("Enter")
    page.keyboard.type("wrong ")
    page.wait_for_event("requestfinished", lambda one: one.url.endswith("/timeline/"))
    page.wait_for_event("requestfinished", lambda one: one.url.endswith("/timeline/"))
    page.keyboard.type("file")
    page.keyboard.press("Enter")

    page.wait_for_selector(".st3-head .st3-pill.st3-canceled")
    assert "by root: “wrong file”" in page.inner_text(".st3-sentence")
    assert "1 task was canceled." in page.inner_text(".messagelist")
    assert kinds(task)[-1] == "cancel"
    assert browser.complaints == []


def test_without_scripts_a_button_leads_to_the_page_of_confirmation(browser, root) -> None:
    task = bring_to(Invoice.objects.create(), Status.FAILED)
    page = browser.page(root, java_script_enabled=False)
    page.goto(browser.url + url(task))

    page.click(f".st3-head button[value={RETRY}]")
    page.fill("#id_reason", "the bank is open again")
    page.click("#content form button[type=submit]")

    assert page.url == browser.url + url(task)
    assert task.events.last().reason == "the bank is open again"


def test_the_menu_of_the_page_closes_by_keyboard_and_gives_focus_back(browser, root) -> None:
    task = bring_to(Invoice.objects.create(), Status.SUCCESS)
    page = browser.page(root)
    page.goto(browser.url + url(task))

    page.focus(".st3-more > summary")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.locator(".st3-more[open] :focus").count() == 1
    page.keyboard.press("Escape")

    assert page.locator(".st3-more[open]").count() == 0
    assert page.evaluate("document.activeElement.parentElement.className") == "st3-more"


def test_a_page_that_gets_no_answer_says_since_when(browser, root) -> None:
    task = bring_to(Invoice.objects.create(), Status.RUNNING)
    page = browser.page(root)
    page.goto(browser.url + url(task))
    page.wait_for_selector(".st3-is-live .st3-live")

    page.route("**/timeline/", lambda route: route.abort())

    page.wait_for_selector(".st3-live.st3-still")
    assert page.inner_text(".st3-live").startswith("stopped at ")


def test_a_user_who_may_only_view_gets_no_button_and_is_refused(browser, viewer) -> None:
    tasks = lives()
    page = browser.page(viewer)

    for name, where in pages(tasks).items():
        page.goto(browser.url + where)
        buttons = page.locator("#content form[method=post] :is(button, input[type=submit])")
        assert buttons.count() == 0, name
    forged = f"action={RESET}&_selected_action={tasks['FAILED'].pk}"
    statuses = [
        page.evaluate(
            """async ([where, body]) => (await fetch(where, {
                method: "POST", body, headers: {
                    "Content-Type": "application/x-www-form-urlencoded",
                    "X-CSRFToken": document.cookie.match(/csrftoken=([^;]+)/)?.[1]
                        ?? document.querySelector("[name=csrfmiddlewaretoken]").value,
                }})).status""",
            [browser.url + where, body],
        )
        for where, body in (
            (url(tasks["FAILED"]), "amount=1"),
            (url(Invoice), f"{forged}&index=0"),
            (url(Invoice), f"{forged}&django_simpletask3_confirmed=yes"),
            (
                reverse("admin:django_simpletask3_dashboard_command"),
                "action=pause&target=testapp.Invoice",
            ),
        )
    ]

    assert statuses == [403] * 4


@pytest.mark.parametrize(
    ("scheme", "width", "language"), [("light", 360, "zh-Hans"), ("dark", 1280, "en-US")]
)
def test_no_page_has_a_serious_violation(  # noqa: PLR0917 - fixtures
    browser, root, axe, scheme, width, language
) -> None:
    tasks = lives()
    business(tasks["RUNNING"])
    size = {"width": width, "height": 800}
    page = browser.page(root, color_scheme=scheme, viewport=size, locale=language)

    found: list[Any] = []
    for name, where in further_pages(tasks).items():
        page.goto(browser.url + where)
        found += [(name, *one) for one in violations(page, axe)]
    go_to_the_confirmation(page, browser.url)
    found += [("confirmation", *one) for one in violations(page, axe)]

    assert not found, found


def test_nothing_leaves_the_host_and_the_policy_is_kept(browser, root) -> None:
    tasks = lives()
    business(tasks["RUNNING"])
    page = browser.page(root)

    for where in further_pages(tasks).values():
        page.goto(browser.url + where)
    go_to_the_confirmation(page, browser.url)
    page.goto(browser.url + url(tasks["RUNNING"]))
    page.wait_for_event("requestfinished", lambda one: one.url.endswith("/timeline/"))

    assert {one.split("/")[2] for one in browser.requests} == {browser.url.split("/")[2]}
    assert browser.complaints == []


def test_hostile_words_stay_inert_everywhere(browser, root) -> None:
    task = Invoice.objects.create(task_biz_field=HOSTILE[:60])
    with task_context(actor=HOSTILE):
        apply(task, EventKind.START, worker=HOSTILE)
    task.note(HOSTILE, progress=0.5, more={HOSTILE: [HOSTILE]})
    apply(task, EventKind.RECOVER, reason=HOSTILE, data={"lost_worker": HOSTILE})
    apply(task, EventKind.START, worker="node-2")
    apply(task, EventKind.ACK, worker="node-2", result={HOSTILE: [HOSTILE, {HOSTILE: 1}]})
    other = bring_to(Invoice.objects.create(), Status.RUNNING)
    error = {"type": HOSTILE, "message": HOSTILE, "traceback": HOSTILE}
    apply(other, EventKind.FAIL, worker="w1", error_data=error)
    Invoice.objects.filter(pk=other.pk).update_managed(parent=f"testapp.Invoice:{HOSTILE}")
    live = Invoice.objects.create()
    apply(live, EventKind.START, worker=HOSTILE)
    live.note(HOSTILE, progress=0.5)
    business(live, HOSTILE)
    page = browser.page(root)
    pages = (
        url(Invoice),
        url(task),
        url(other),
        reverse(DASHBOARD),
        reverse(RECOVERIES),
        reverse(LEDGER),
    )

    for where in (*pages, url(task, "delete"), url(Delivery), url(Schedule), url(live)):
        page.goto(browser.url + where)
        assert page.title() != "owned"
        assert page.locator("img[src=x]").count() == 0
    live.note(HOSTILE, more=HOSTILE)
    page.wait_for_selector("[data-st3-event='4']")
    is_inert = page.locator("img[src=x]").count() == 0
    go_to_the_confirmation(page, browser.url)

    assert is_inert
    assert page.title() != "owned"
    assert page.locator("img[src=x]").count() == 0


def test_no_page_is_wider_than_the_screen(browser, root) -> None:
    tasks = lives()
    business(tasks["RUNNING"], "a word " * 30)
    page = browser.page(root)

    wide = {}
    for name, where in further_pages(tasks).items():
        page.set_viewport_size({"width": 1280, "height": 800})
        page.goto(browser.url + where)
        wide |= {(name, width): over for width, over in widths_over(page)}

    assert not any(wide.values()), wide


def widths_over(page: Any) -> Iterator[tuple[int, int]]:
    """How many pixels the open page is wider than a desktop, and than a phone."""
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 800})
        over = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        yield width, max(0, over)


@pytest.mark.parametrize("language", ["ar", "he"])
def test_no_page_from_right_to_left_is_wider_than_the_screen(
    browser, root, settings, language
) -> None:
    settings.LANGUAGE_CODE = language
    tasks = lives()
    business(tasks["RUNNING"], "a word " * 30)
    page = browser.page(root, locale=language)

    wide = {}
    for name, where in further_pages(tasks).items():
        page.set_viewport_size({"width": 1280, "height": 800})
        page.goto(browser.url + where)
        assert page.evaluate("document.documentElement.dir") == "rtl", name
        wide |= {(name, width): over for width, over in widths_over(page)}

    assert not any(wide.values()), wide


def test_from_right_to_left_a_task_is_mirrored(browser, root) -> None:
    task = bring_to(Invoice.objects.create(), Status.RUNNING)
    page = browser.page(root, locale="he")
    page.goto(browser.url + url(task))

    thick = page.evaluate(
        """() => {
            const style = getComputedStyle(document.querySelector(".st3-head"));
            return [style.borderLeftWidth, style.borderRightWidth];
        }"""
    )

    assert thick == ["1px", "4px"]


def test_the_keyboard_reaches_what_the_mouse_does(browser, root) -> None:
    page = browser.page(root)
    page.goto(browser.url + reverse(DASHBOARD))

    page.locator("[id='queue-testapp.Invoice'] .st3-command summary").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.name == 'reason'")
    page.keyboard.type("for lunch")
    page.keyboard.press("Enter")

    page.wait_for_selector("[id='queue-testapp.Invoice'] .st3-lost")
    assert "paused by root" in page.inner_text("[id='queue-testapp.Invoice']")
    assert "for lunch" in page.content()
