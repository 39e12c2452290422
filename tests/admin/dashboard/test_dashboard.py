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
from tests.admin.pages import shown_messages, text
from tests.steps import bring_to
from tests.testapp.models import Invoice, PaidInvoice, Reminder

pytestmark = pytest.mark.django_db

PAGE = "admin:django_simpletask3_dashboard_changelist"
COMMAND = "admin:django_simpletask3_dashboard_command"
WORKER = "node-1:4711:start"


def dashboard(client, **query):
    return client.get(reverse(PAGE), query)


def post_command(client, action: str, target: str, reason: str = ""):
    data = {"action": action, "target": target, "reason": reason}
    return client.post(reverse(COMMAND), data, follow=True)


def reported(**extra) -> None:
    now = time.time()
    models = {"testapp.Invoice": {"threads": 3, "held": 1}}
    get_queue().report(WORKER, {"node": "node-1", "began": now, "models": models, **extra})


@pytest.fixture
def operator(staff):
    """Make a client of a user who may view invoices and has these permissions on the dashboard."""

    def make_client(*verbs: str):
        client = staff("view_invoice")
        names = [f"{verb}_dashboard" for verb in verbs]
        granted = Permission.objects.filter(codename__in=names)
        assert len(granted) == len(verbs)
        User.objects.get(username="mia").user_permissions.add(*granted)
        return client

    return make_client


def row(page, anchor: str) -> str:
    """The words of one row of a table."""
    content = page.content.decode()
    part = content.partition(f'<tr id="{anchor}">')[2].partition("</tr>")[0]
    return text(type("Part", (), {"content": part.encode()}))


def test_a_queue_says_what_waits_and_runs(superuser) -> None:
    bring_to(Invoice.objects.create(), Status.RUNNING)
    Invoice.objects.create()
    Invoice.objects.create()

    queue_row = row(dashboard(superuser), "queue-testapp.Invoice")

    assert "2" in queue_row
    assert "open" in queue_row


def test_a_queue_says_how_many_tasks_are_blocked(superuser, monkeypatch) -> None:
    Invoice.objects.bulk_enqueue([{"amount": n} for n in range(3)], blocked=True)

    (queue,) = [
        q for q in dashboard(superuser).context["queues"] if q["model"] == "testapp.Invoice"
    ]
    monkeypatch.setattr(health, "MAX_ROWS", 2)
    page = dashboard(superuser)

    assert (queue["pending"], queue["running"], queue["blocked"]) == ("0", "0", "3")
    assert "2+" in row(page, "queue-testapp.Invoice")


def test_a_proxy_says_with_what_it_is_counted(superuser) -> None:
    PaidInvoice.objects.create()

    page = dashboard(superuser)

    (queue,) = [queue for queue in page.context["queues"] if queue["model"] == "testapp.Invoice"]
    assert queue["pending"] == "1"
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


def test_a_worker_without_reports_is_listed_with_its_tasks(superuser) -> None:
    apply(Invoice.objects.create(), EventKind.START, worker="gone")

    assert "does not report" in row(dashboard(superuser), "worker-gone")


@pytest.mark.parametrize("period", [*Period, "", "century"])
def test_the_charts_of_each_period_are_drawn(superuser, period) -> None:
    bring_to(Invoice.objects.create(), Status.SUCCESS)
    bring_to(Invoice.objects.create(), Status.FAILED)

    page = dashboard(superuser, period=period)

    (finished, waits, runs, rate) = page.context["charts"]
    assert {shape.series for shape in finished.shapes} == {"success", "failed"}
    assert {shape.series for shape in waits.shapes} == {"median", "tail"}
    assert len(runs.shapes) == 2
    assert "50" in rate.shapes[0].tooltip
    assert page.content.decode().count('<svg viewBox="0 0 640.0') == 4


def test_an_empty_period_says_so(superuser) -> None:
    assert "Nothing was finished in this period." in text(dashboard(superuser))


def test_recoveries_of_the_day_lead_to_their_list(superuser) -> None:
    apply(
        bring_to(Invoice.objects.create(), Status.RUNNING), EventKind.RECOVER, reason="worker_died"
    )

    page = dashboard(superuser)
    (count,) = page.context["recovery_counts"]
    listed = superuser.get(
        reverse("admin:django_simpletask3_dashboard_recoveries") + "?" + count["query"]
    )

    assert (count["number"], count["reason"]) == ("1", "worker_died")
    assert len(listed.context["recoveries"]) == 1


def test_more_tasks_take_no_more_queries(superuser) -> None:
    dashboard(superuser)  # what is remembered of the databases is asked once
    bring_to(Invoice.objects.create(), Status.SUCCESS)
    bring_to(Invoice.objects.create(), Status.RUNNING)
    with CaptureQueriesContext(connection) as few:
        dashboard(superuser)
    for _ in range(30):
        bring_to(Invoice.objects.create(), Status.FAILED)
        bring_to(Reminder.objects.create(), Status.RUNNING)

    with CaptureQueriesContext(connection) as many:
        dashboard(superuser)

    assert len(many) == len(few)
    assert len(many) <= 15


def test_a_viewer_needs_a_dozen_queries_two_for_what_waits_and_one_for_schedules(operator) -> None:
    client = operator("view")
    dashboard(client)

    with CaptureQueriesContext(connection) as seen:
        dashboard(client)

    assert len(seen) <= 15


def test_only_models_that_the_user_may_view_are_shown(operator) -> None:
    bring_to(Reminder.objects.create(), Status.SUCCESS)

    page = dashboard(operator("view"))

    assert [queue["model"] for queue in page.context["queues"]] == ["testapp.Invoice"]
    assert not any(chart.shapes for chart in page.context["charts"])


def test_a_user_without_permission_sees_nothing(staff) -> None:
    client = staff("view_invoice")

    assert dashboard(client).status_code == 403
    assert reverse(PAGE) not in client.get(reverse("admin:index")).content.decode()


def test_a_viewer_sees_no_buttons_and_cannot_post(operator) -> None:
    client = operator("view")
    reported()

    page = dashboard(client)
    responses = [
        post_command(client, action, target)
        for action, target in (
            ("pause", "testapp.Invoice"),
            ("stop", WORKER),
            ("replay", "testapp.Invoice"),
        )
    ]

    assert 'name="action"' not in page.content.decode()
    assert {response.status_code for response in responses} == {403}
    assert not OperatorCommand.objects.exists()


def test_a_queue_is_paused_and_resumed_with_a_reason(operator) -> None:
    client = operator("view", "change")

    paused = post_command(client, "pause", "testapp.Invoice", "the bank is closed")
    (command,) = control.current_commands()
    resumed = post_command(client, "resume", "testapp.Invoice", "open again")

    assert "the bank is closed" in row(paused, "queue-testapp.Invoice")
    assert (command.actor, command.reason) == ("mia", "the bank is closed")
    assert "testapp.Invoice is paused" in shown_messages(paused)[0]
    assert "open" in row(resumed, "queue-testapp.Invoice")
    assert control.current_commands() == []
    assert [entry.change_message for entry in LogEntry.objects.order_by("pk")] == [
        "pause testapp.Invoice: the bank is closed",
        "resume testapp.Invoice: open again",
    ]


def test_a_queue_of_a_hidden_model_cannot_be_paused(operator) -> None:
    response = post_command(operator("view", "change"), "pause", "testapp.Reminder")

    assert response.status_code == 403
    assert control.current_commands() == []


def test_a_worker_is_asked_to_stop(superuser) -> None:
    reported()

    page = post_command(superuser, "stop", WORKER, "upgrade")

    (command,) = control.current_commands()
    assert (command.action, command.target, command.reason) == ("stop", WORKER, "upgrade")
    assert "is asked to stop" in row(page, f"worker-{WORKER}")


@pytest.mark.parametrize("target", ["", "unknown", "x" * 400])
def test_a_worker_that_does_not_report_cannot_be_stopped(superuser, target) -> None:
    reported()

    page = superuser.post(reverse(COMMAND), {"action": "stop", "target": target}, follow=True)

    assert shown_messages(page) == ["There is no such worker: it no longer reports."]
    assert control.current_commands() == []
    assert not LogEntry.objects.exists()


def test_without_redis_no_worker_is_stopped(superuser, settings) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:1/0"

    post_command(superuser, "stop", WORKER)

    assert control.current_commands() == []


def test_old_stop_commands_of_lost_workers_are_deleted(superuser) -> None:
    for name in ("gone", "fresh", WORKER):
        control.stop(name)
    control.pause(Invoice)
    old = timezone.now() - timedelta(days=2)
    OperatorCommand.objects.exclude(target="fresh").update(time=old)
    reported()

    post_command(superuser, "stop", WORKER)

    assert {command.target for command in control.current_commands()} == {
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

    page = post_command(superuser, "replay", "testapp.Invoice")

    assert "&lt;b&gt;no key" in before
    assert shown_messages(page) == ["1 dead letter is in the queue again."]
    assert (queue.dead_letter_count(channel), queue.waiting(channel)) == (0, 1)


def test_characters_that_no_page_can_hold_are_escaped(superuser) -> None:
    channel, queue = Invoice.get_event_channel(), get_queue()
    queue.push(channel, [("odd", {"app_label": "testapp"})])
    (message,) = queue.claim(channel, worker="test", lease=60)
    queue.dead_letter(message, "no \ud800 key")
    reported(version="\ud800")

    page = dashboard(superuser)

    assert page.status_code == 200
    assert "no \\ud800 key" in row(page, "queue-testapp.Invoice")


@pytest.mark.parametrize("action", ["", "drop_tables"])
def test_an_unknown_command_is_refused(superuser, action) -> None:
    assert post_command(superuser, action, "testapp.Invoice").status_code == 403


def test_commands_are_posted_only(superuser) -> None:
    assert superuser.get(reverse(COMMAND)).status_code == 405


def test_without_redis_the_dashboard_says_so(superuser, settings) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:1/0"

    page = dashboard(superuser)

    assert page.status_code == 200
    assert "Redis does not answer: " in text(page)


def test_errors_of_redis_are_hidden_from_viewers(watcher, settings) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:1/0"

    words = text(dashboard(watcher("view_invoice")))

    assert "Redis does not answer." in words
    assert "127.0.0.1" not in words
