"""The dashboard: what it tells, what it costs, what may be asked there."""

import time
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_simpletask3 import control
from django_simpletask3.models import OperatorCommand
from django_simpletask3.monitoring import health
from django_simpletask3.monitoring.statistics import Period
from django_simpletask3.queue import get_queue
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.admin.steps import step, text, told
from tests.testapp.models import Invoice, PaidInvoice, Reminder

pytestmark = pytest.mark.django_db

PAGE = "admin:django_simpletask3_dashboard_changelist"
INSTRUCT = "admin:django_simpletask3_dashboard_instruct"
WORKER = "node-1:4711:birth"


def dashboard(client, **asked):
    return client.get(reverse(PAGE), asked)


def instruct(client, what: str, target: str, reason: str = ""):
    said = {"what": what, "target": target, "reason": reason}
    return client.post(reverse(INSTRUCT), said, follow=True)


def reported(**said) -> None:
    now = time.time()
    models = {"testapp.Invoice": {"threads": 3, "held": 1}}
    get_queue().report(WORKER, {"node": "node-1", "began": now, "models": models, **said})


@pytest.fixture
def operator(staff):
    """Makes the browser of somebody who sees invoices and the dashboard, or may change it too."""

    def made(*verbs: str):
        client = staff("view_invoice")
        names = [f"{verb}_dashboard" for verb in verbs]
        found = Permission.objects.filter(codename__in=names)
        assert len(found) == len(verbs)
        User.objects.get(username="mia").user_permissions.add(*found)
        return client

    return made


def row(page, anchor: str) -> str:
    """The words of one row of a table."""
    content = page.content.decode()
    part = content.partition(f'<tr id="{anchor}">')[2].partition("</tr>")[0]
    return text(type("Part", (), {"content": part.encode()}))


def test_a_queue_says_what_waits_and_runs(superuser) -> None:
    step(Invoice.objects.create(), Status.RUNNING)
    Invoice.objects.create()
    Invoice.objects.create()

    told_of = row(dashboard(superuser), "queue-testapp.Invoice")

    assert "2" in told_of
    assert "open" in told_of


def test_a_proxy_says_with_what_it_is_counted(superuser) -> None:
    PaidInvoice.objects.create()

    page = dashboard(superuser)

    (counted,) = [one for one in page.context["queues"] if one["model"] == "testapp.Invoice"]
    assert counted["pending"] == "1"
    assert "counted with testapp.Invoice" in row(page, "queue-testapp.PaidInvoice")


def test_the_longest_wait_of_a_part_is_a_least_one(superuser, monkeypatch) -> None:
    monkeypatch.setattr(health, "MAX_ROWS", 2)
    Invoice.objects.bulk_enqueue({"amount": n} for n in range(3))

    page = dashboard(superuser)

    assert "2+at least " in row(page, "queue-testapp.Invoice")


def test_a_worker_says_what_it_runs_and_since_when(superuser) -> None:
    task = Invoice.objects.create()
    apply(task, EventKind.START, worker=WORKER)
    reported()

    page = dashboard(superuser)

    assert f"testapp.Invoice {task.pk}" in row(page, f"worker-{WORKER}")
    assert f"/testapp/invoice/{task.pk}/change/" in page.content.decode()


def test_a_worker_that_is_silent_is_told_by_what_it_holds(superuser) -> None:
    apply(Invoice.objects.create(), EventKind.START, worker="gone")

    assert "does not report" in row(dashboard(superuser), "worker-gone")


@pytest.mark.parametrize("period", [*Period, "", "century"])
def test_the_charts_of_each_period_are_drawn(superuser, period) -> None:
    step(Invoice.objects.create(), Status.SUCCESS)
    step(Invoice.objects.create(), Status.FAILED)

    page = dashboard(superuser, period=period)

    (finished, waits, runs, rate) = page.context["charts"]
    assert {shape.series for shape in finished.shapes} == {"success", "failed"}
    assert {shape.series for shape in waits.shapes} == {"median", "tail"}
    assert len(runs.shapes) == 2
    assert "50" in rate.shapes[0].tooltip
    assert page.content.decode().count('<svg viewBox="0 0 640.0') == 4


def test_nothing_finished_is_said(superuser) -> None:
    assert "Nothing was finished in this period." in text(dashboard(superuser))


def test_recoveries_of_the_day_lead_to_their_list(superuser) -> None:
    apply(step(Invoice.objects.create(), Status.RUNNING), EventKind.RECOVER, reason="worker_died")

    page = dashboard(superuser)
    (counted,) = page.context["recoveries"]
    listed = superuser.get(
        reverse("admin:django_simpletask3_dashboard_recoveries") + "?" + counted["query"]
    )

    assert (counted["number"], counted["reason"]) == ("1", "worker_died")
    assert len(listed.context["found"]) == 1


def test_more_tasks_take_no_more_queries(superuser) -> None:
    dashboard(superuser)  # what is remembered of the databases is asked once
    step(Invoice.objects.create(), Status.SUCCESS)
    step(Invoice.objects.create(), Status.RUNNING)
    with CaptureQueriesContext(connection) as few:
        dashboard(superuser)
    for _ in range(30):
        step(Invoice.objects.create(), Status.FAILED)
        step(Reminder.objects.create(), Status.RUNNING)

    with CaptureQueriesContext(connection) as many:
        dashboard(superuser)

    assert len(many) == len(few)
    assert len(many) <= 12


def test_a_viewer_needs_at_most_a_dozen_queries(operator) -> None:
    client = operator("view")
    dashboard(client)

    with CaptureQueriesContext(connection) as seen:
        dashboard(client)

    assert len(seen) <= 12


def test_only_models_that_the_user_may_view_are_shown(operator) -> None:
    step(Reminder.objects.create(), Status.SUCCESS)

    page = dashboard(operator("view"))

    assert [queue["model"] for queue in page.context["queues"]] == ["testapp.Invoice"]
    assert not any(chart.shapes for chart in page.context["charts"])


def test_who_has_no_permission_sees_nothing(staff) -> None:
    client = staff("view_invoice")

    assert dashboard(client).status_code == 403
    assert reverse(PAGE) not in client.get(reverse("admin:index")).content.decode()


def test_a_viewer_meets_no_button_and_is_refused(operator) -> None:
    client = operator("view")
    reported()

    page = dashboard(client)
    responses = [
        instruct(client, what, target)
        for what, target in (
            ("pause", "testapp.Invoice"),
            ("stop", WORKER),
            ("replay", "testapp.Invoice"),
        )
    ]

    assert 'name="what"' not in page.content.decode()
    assert {response.status_code for response in responses} == {403}
    assert not OperatorCommand.objects.exists()


def test_a_queue_is_paused_and_resumed_with_a_reason(operator) -> None:
    client = operator("view", "change")

    paused = instruct(client, "pause", "testapp.Invoice", "the bank is closed")
    (said,) = control.current_commands()
    resumed = instruct(client, "resume", "testapp.Invoice", "open again")

    assert "the bank is closed" in row(paused, "queue-testapp.Invoice")
    assert (said.actor, said.reason) == ("mia", "the bank is closed")
    assert "testapp.Invoice is paused" in told(paused)[0]
    assert "open" in row(resumed, "queue-testapp.Invoice")
    assert control.current_commands() == []
    assert [entry.change_message for entry in LogEntry.objects.order_by("pk")] == [
        "pause testapp.Invoice: the bank is closed",
        "resume testapp.Invoice: open again",
    ]


def test_a_queue_that_one_may_not_view_cannot_be_paused(operator) -> None:
    response = instruct(operator("view", "change"), "pause", "testapp.Reminder")

    assert response.status_code == 403
    assert control.current_commands() == []


def test_a_worker_is_asked_to_stop(superuser) -> None:
    reported()

    page = instruct(superuser, "stop", WORKER, "upgrade")

    (said,) = control.current_commands()
    assert (said.action, said.target, said.reason) == ("stop", WORKER, "upgrade")
    assert "is asked to stop" in row(page, f"worker-{WORKER}")


@pytest.mark.parametrize("target", ["", "nobody", "x" * 400])
def test_who_does_not_report_is_not_asked_to_stop(superuser, target) -> None:
    reported()

    page = superuser.post(reverse(INSTRUCT), {"what": "stop", "target": target}, follow=True)

    assert told(page) == ["There is no such worker: it does not report any more."]
    assert control.current_commands() == []
    assert not LogEntry.objects.exists()


def test_without_redis_nobody_is_asked_to_stop(superuser, settings) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:1/0"

    instruct(superuser, "stop", WORKER)

    assert control.current_commands() == []


def test_what_workers_were_asked_who_are_gone_is_forgotten_in_time(superuser) -> None:
    for name in ("gone", "fresh", WORKER):
        control.stop(name)
    control.pause(Invoice)
    old = timezone.now() - timedelta(days=2)
    OperatorCommand.objects.exclude(target="fresh").update(time=old)
    reported()

    instruct(superuser, "stop", WORKER)

    assert {one.target for one in control.current_commands()} == {
        "fresh",
        WORKER,
        "testapp.Invoice",
    }


def test_dead_letters_are_shown_and_put_back(superuser) -> None:
    channel, queue = Invoice.get_event_channel(), get_queue()
    queue.push(channel, [("odd", {"app_label": "testapp"})])
    (message,) = queue.claim(channel, worker="test", lease=60)
    queue.dead_letter(message, "<b>no key</b>")
    before = row(dashboard(superuser), "queue-testapp.Invoice")

    page = instruct(superuser, "replay", "testapp.Invoice")

    assert "&lt;b&gt;no key" in before
    assert told(page) == ["1 dead letter is in the queue again."]
    assert (queue.dead_letter_count(channel), queue.waiting(channel)) == (0, 1)


def test_what_no_page_can_hold_is_shown_escaped(superuser) -> None:
    channel, queue = Invoice.get_event_channel(), get_queue()
    queue.push(channel, [("odd", {"app_label": "testapp"})])
    (message,) = queue.claim(channel, worker="test", lease=60)
    queue.dead_letter(message, "no \ud800 key")
    reported(version="\ud800")

    page = dashboard(superuser)

    assert page.status_code == 200
    assert "no \\ud800 key" in row(page, "queue-testapp.Invoice")


@pytest.mark.parametrize("what", ["", "drop_tables"])
def test_what_is_not_known_is_refused(superuser, what) -> None:
    assert instruct(superuser, what, "testapp.Invoice").status_code == 403


def test_instructions_are_posted_only(superuser) -> None:
    assert superuser.get(reverse(INSTRUCT)).status_code == 405


def test_without_redis_the_dashboard_says_so(superuser, settings) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:1/0"

    page = dashboard(superuser)

    assert page.status_code == 200
    assert "Redis does not answer: " in text(page)


def test_what_redis_said_is_not_for_viewers(watcher, settings) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:1/0"

    words = text(dashboard(watcher("view_invoice")))

    assert "Redis does not answer." in words
    assert "127.0.0.1" not in words
