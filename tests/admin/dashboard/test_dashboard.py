"""The dashboard: what it says, what it costs, what may be asked there."""

import re
import time
from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_simpletask3 import control
from django_simpletask3.db import clock
from django_simpletask3.models import OperatorCommand
from django_simpletask3.monitoring import health, problems
from django_simpletask3.monitoring.problem_texts import ProblemText
from django_simpletask3.monitoring.problems import Problem, ProblemKind
from django_simpletask3.monitoring.statistics import Period
from django_simpletask3.queue import get_queue
from django_simpletask3.schedules import operators
from django_simpletask3.schedules.tables import Schedule, ScheduleTick
from django_simpletask3.states import EventKind, Status
from django_simpletask3.testing import task_clock
from django_simpletask3.transitions.writer import apply
from tests.admin.pages import shown_messages, text
from tests.steps import bring_to
from tests.testapp.models import Invoice, PaidInvoice, Reminder

pytestmark = pytest.mark.django_db

PAGE = "admin:django_simpletask3_dashboard_changelist"
COMMAND = "admin:django_simpletask3_dashboard_command"
WORKER = "node-1:4711:start"
PROBLEM_TEXT = ProblemText("Something is wrong.")


def dashboard(client, **query):
    return client.get(reverse(PAGE), query)


def post_command(client, action: str, target: str, reason: str = ""):
    data = {"action": action, "target": target, "reason": reason}
    return client.post(reverse(COMMAND), data, follow=True)


def reported(worker: str = WORKER, **extra) -> None:
    now = time.time()
    models = {"testapp.Invoice": {"threads": 3, "held": 1}}
    get_queue().report(worker, {"node": "node-1", "began": now, "models": models, **extra})


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


def own_schedule(key: str, cron: str, enabled: bool) -> None:
    """A schedule of invoices that an operator has made."""
    row = Schedule(key=key, target="testapp.Invoice", cron=cron, fields={}, zone="UTC")
    operators.save_own(row, "default")
    Schedule.objects.filter(key=key).update(enabled=enabled)


def row(page, anchor: str) -> str:
    """The words of one row of a table."""
    content = page.content.decode()
    part = content.partition(f' id="{anchor}"')[2].partition(">")[2].partition("</tr>")[0]
    return text(type("Part", (), {"content": part.encode()}))


def test_a_queue_says_what_waits_and_runs(superuser) -> None:
    bring_to(Invoice.objects.create(), Status.RUNNING)
    Invoice.objects.create()
    Invoice.objects.create()

    queue_row = row(dashboard(superuser), "queue-testapp.Invoice")

    assert re.search(r"no node 2 \d+ ms 1", queue_row)


def test_a_queue_says_how_many_tasks_are_blocked(superuser, monkeypatch) -> None:
    Invoice.objects.bulk_enqueue([{"amount": n} for n in range(3)], blocked=True)

    (queue,) = [
        q for q in dashboard(superuser).context["queues"] if q["model"] == "testapp.Invoice"
    ]
    monkeypatch.setattr(health, "MAX_ROWS", 2)
    page = dashboard(superuser)

    assert (queue["waiting"], queue["running"], queue["blocked"]) == ("0", "0", "3")
    assert "2+ tasks are blocked" in text(page)


def test_a_proxy_says_with_what_it_is_counted(superuser) -> None:
    PaidInvoice.objects.create()

    page = dashboard(superuser)

    (queue,) = [queue for queue in page.context["queues"] if queue["model"] == "testapp.Invoice"]
    assert queue["waiting"] == "1"
    assert "counted with Invoices" in row(page, "queue-testapp.PaidInvoice")


def test_the_longest_wait_of_a_part_is_a_least_one(superuser, monkeypatch) -> None:
    monkeypatch.setattr(health, "MAX_ROWS", 2)
    Invoice.objects.bulk_enqueue({"amount": n} for n in range(3))

    page = dashboard(superuser)

    assert "2+ at least " in row(page, "queue-testapp.Invoice")


def test_a_node_says_what_it_runs_and_since_when(superuser) -> None:
    task = Invoice.objects.create()
    apply(task, EventKind.START, worker=WORKER)
    reported()

    page = dashboard(superuser)

    assert f"reports 1 of 3 Invoice {task.pk} just now" in row(page, "node-node-1")
    assert f"/testapp/invoice/{task.pk}/change/" in page.content.decode()
    assert 'title="runs for ' in page.content.decode()


def test_the_processes_of_a_node_are_one_row_and_two_nodes_of_a_host_are_two(superuser) -> None:
    for number, supervisor in ((1, 10), (2, 10), (3, 20)):
        reported(worker=f"node-1:{number}:start", supervisor=supervisor)

    page = dashboard(superuser)

    assert "2 of 6" in row(page, "node-node-1 › 10")
    assert "1 of 3" in row(page, "node-node-1 › 20")
    assert "2 report, none is lost" in text(page)


def test_a_node_that_no_longer_reports_is_lost_and_cannot_be_stopped(superuser) -> None:
    apply(Invoice.objects.create(), EventKind.START, worker="gone:1:start")
    reported()

    page = dashboard(superuser)

    lost = row(page, "node-gone")
    assert "lost" in lost
    assert "(not taken back yet)" in lost
    assert "Stop" not in lost
    assert "Stop" in row(page, "node-node-1")
    assert [node["name"] for node in page.context["nodes"]] == ["node-1", "gone"]
    assert "The node gone is lost" in text(page)


def test_the_last_report_of_a_lost_worker_does_not_keep_its_node_alive(superuser) -> None:
    reported(worker="gone:1:start", node="gone")
    reported()
    get_queue().db.zadd(f"{get_queue().prefix}:x:workers", {"gone:1:start": time.time() - 100})

    page = dashboard(superuser)

    assert re.search(r"lost .*nothing .*\d\d:\d\d$", row(page, "node-gone").strip())
    assert "1 reports, 1 is lost since " in text(page)


def test_a_lost_node_says_what_became_of_its_tasks(superuser) -> None:
    lost, again = (Invoice.objects.create() for _ in range(2))
    for task in (lost, again):
        apply(task, EventKind.START, worker="gone:1:start")
        data = {"lost_worker": "gone:1:start"}
        apply(task, EventKind.RECOVER, reason="worker_died", data=data)
    apply(again, EventKind.START, worker=WORKER)
    reported()

    waiting = dashboard(superuser)
    apply(lost, EventKind.START, worker=WORKER)
    well = dashboard(superuser)

    (entry,) = waiting.context["attention"].entries
    assert entry.title.startswith("The node gone is lost since ")
    assert "1 of its 2 tasks have run again, 1 has not yet." in entry.details
    assert "nothing; 2 tasks were taken back" in row(waiting, "node-gone")
    assert well.context["attention"].mood == "well"
    assert "a worker was lost, and its 2 tasks ran again" in text(well)


def lose(task, *kinds) -> None:
    for kind in kinds:
        apply(task, EventKind.START, worker="gone:1:start")
        apply(task, kind, reason="worker_died", data={"lost_worker": "gone:1:start"})


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        (["recover recover"], "a worker was lost, and its task ran again"),
        (["recover", "recover recover drop"], "and its task ran again, 1 was given up"),
        (["recover drop", "drop"], "a worker was lost, and its 2 tasks were given up"),
    ],
)
def test_a_task_that_was_lost_several_times_counts_once(superuser, losses, words) -> None:
    for kinds in losses:
        task = Invoice.objects.create()
        lose(task, *map(EventKind, kinds.split()))
        if task.status == Status.PENDING:
            apply(task, EventKind.START, worker=WORKER)
    reported()

    assert f"{words}." in text(dashboard(superuser)) + "."


def test_a_task_that_was_given_up_has_not_run_again(superuser) -> None:
    waits, given_up, again = (Invoice.objects.create() for _ in range(3))
    lose(waits, EventKind.RECOVER)
    lose(given_up, EventKind.RECOVER, EventKind.DROP)
    lose(again, EventKind.RECOVER)
    apply(again, EventKind.START, worker=WORKER)
    reported()

    (entry,) = dashboard(superuser).context["attention"].entries

    assert "1 of its 2 tasks have run again, 1 has not yet." in entry.details


def test_recoveries_of_one_task_are_no_tasks(superuser) -> None:
    lose(Invoice.objects.create(), EventKind.RECOVER, EventKind.RECOVER, EventKind.DROP)
    reported()

    words = text(dashboard(superuser))

    assert "2 times a task was recovered the worker was lost, " in words
    assert "1 task was given up the worker was lost, " in words


def listed_by(client, address: str) -> set[int]:
    return {task.pk for task in client.get(address).context["cl"].result_list}


def queue_of(client, label: str = "testapp.Invoice"):
    [queue] = [row for row in dashboard(client).context["queues"] if row["model"] == label]
    return queue


def test_the_numbers_of_a_queue_lead_to_their_tasks(superuser) -> None:
    old = bring_to(Invoice.objects.create(), Status.FAILED)
    two_hours_ago = timezone.now() - timedelta(hours=2)
    Invoice.objects.filter(pk=old.pk).update_managed(done_time=two_hours_ago)
    waiting, running, failed = (Invoice.objects.create() for _ in range(3))
    Invoice.objects.create(run_after=timezone.now() + timedelta(days=2))
    bring_to(running, Status.RUNNING)
    bring_to(failed, Status.FAILED)

    queue = queue_of(superuser)

    assert listed_by(superuser, queue["waiting_url"]) == {waiting.pk}
    assert listed_by(superuser, queue["running_url"]) == {running.pk}
    assert listed_by(superuser, queue["failed_url"]) == {failed.pk}


def test_a_list_without_the_filters_of_tasks_is_shown_whole(superuser, monkeypatch) -> None:
    plain = ModelAdmin(Invoice, admin.site)
    monkeypatch.setitem(admin.site._registry, Invoice, plain)
    task = Invoice.objects.create()

    assert listed_by(superuser, queue_of(superuser)["waiting_url"]) == {task.pk}


def test_a_process_that_was_replaced_is_no_lost_node(superuser) -> None:
    task = Invoice.objects.create()
    apply(task, EventKind.START, worker="node-1:1:start")
    data = {"lost_worker": "node-1:1:start"}
    apply(task, EventKind.RECOVER, reason="worker_died", data=data)
    reported()

    page = dashboard(superuser)

    assert [node["state"] for node in page.context["nodes"]] == ["reports"]
    assert "1 task was recovered the worker was lost, " in text(page)


@pytest.mark.parametrize("period", [*Period, "", "century"])
def test_the_charts_of_each_period_are_drawn(superuser, period) -> None:
    bring_to(Invoice.objects.create(), Status.SUCCESS)
    bring_to(Invoice.objects.create(), Status.FAILED)

    page = dashboard(superuser, period=period)

    (done, waits, runs, share) = page.context["charts"]
    assert {bar.css for bar in done.bars} == {"st3-succeeded", "st3-failed"}
    assert [series.name for series in waits.series] == ["p50", "p95"]
    assert len(runs.lines) == 2
    assert "50.0 %" in share.hits[-1].title
    assert share.rows[0][1] == "50.0 %"
    assert page.content.decode().count('<svg viewBox="0 0 600 96"') == 4


def test_an_empty_period_says_so(superuser) -> None:
    assert "Nothing was done in this period" in text(dashboard(superuser))


def test_a_queue_says_how_its_last_hour_was(superuser) -> None:
    for status in (Status.SUCCESS, Status.SUCCESS, Status.FAILED):
        bring_to(Invoice.objects.create(), status)

    page = dashboard(superuser, period="month")

    (queue,) = [q for q in page.context["queues"] if q["model"] == "testapp.Invoice"]
    assert (queue["done"], queue["failed"], queue["failed_share"]) == ("3", "1", "33.3 %")
    assert queue["run_p50"]
    assert [bar.css for bar in queue["spark"]["bars"]].count("st3-bad") == 1
    assert len(queue["spark"]["bars"]) == 30
    stats = {stat["label"]: (stat["value"], stat["note"]) for stat in page.context["stats"]}
    assert stats["Done, last hour"] == ("3", "0.1 per minute")
    assert stats["Failed, last hour"] == ("1", "33.3 %")


def test_numbers_of_the_stat_line_lead_to_the_tasks_that_they_count(superuser) -> None:
    Invoice.objects.create()
    Invoice.objects.create(run_after=timezone.now() + timedelta(days=2))
    bring_to(Invoice.objects.create(), Status.FAILED)
    for model in (Invoice, Reminder):
        bring_to(model.objects.create(), Status.RUNNING)

    page = dashboard(superuser)

    urls = {stat["label"]: stat["url"] for stat in page.context["stats"] if stat["url"]}
    assert urls.pop("Running") == "#st3-queues"
    assert [*urls] == ["Waiting", "Scheduled", "Failed, last hour"]
    for stat_url in urls.values():
        assert f'<dd><a href="{stat_url.replace("&", "&amp;")}">1</a></dd>' in page.content.decode()
        assert len(superuser.get(stat_url).context["cl"].result_list) == 1


def test_scheduled_tasks_do_not_count_as_waiting(superuser) -> None:
    Invoice.objects.create(run_after=timezone.now() + timedelta(days=2))

    page = dashboard(superuser)

    stats = {stat["label"]: (stat["value"], stat["note"]) for stat in page.context["stats"]}
    assert stats["Waiting"] == ("0", "")
    assert stats["Scheduled"][0] == "1"
    assert stats["Scheduled"][1].startswith("next at ")


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
    assert len(many) <= 18


def test_a_viewer_needs_sixteen_queries_at_most(operator) -> None:
    client = operator("view")
    dashboard(client)

    with CaptureQueriesContext(connection) as seen:
        dashboard(client)

    assert len(seen) <= 16


def test_only_models_that_the_user_may_view_are_shown(operator) -> None:
    bring_to(Reminder.objects.create(), Status.SUCCESS)

    page = dashboard(operator("view"))

    assert [queue["model"] for queue in page.context["queues"]] == ["testapp.Invoice"]
    assert page.context["charts"] == []
    assert not any(queue["done"] != "0" for queue in page.context["queues"])


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
    assert "paused by mia" in row(paused, "queue-testapp.Invoice")
    assert "paused" not in row(resumed, "queue-testapp.Invoice")
    assert control.current_commands() == []
    assert [entry.change_message for entry in LogEntry.objects.order_by("pk")] == [
        "pause testapp.Invoice: the bank is closed",
        "resume testapp.Invoice: open again",
    ]


def test_a_queue_of_a_hidden_model_cannot_be_paused(operator) -> None:
    response = post_command(operator("view", "change"), "pause", "testapp.Reminder")

    assert response.status_code == 403
    assert control.current_commands() == []


def test_a_node_is_stopped(superuser) -> None:
    reported()

    page = post_command(superuser, "stop", WORKER, "upgrade")

    (command,) = control.current_commands()
    assert (command.action, command.target, command.reason) == ("stop", WORKER, "upgrade")
    assert "stops" in row(page, "node-node-1")
    assert "Stop the node" not in row(page, "node-node-1")


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


def dead_letter(name: str, reason: str, **data) -> None:
    channel, queue = Invoice.get_event_channel(), get_queue()
    queue.push(channel, [(name, {"app_label": "testapp", **data})])
    (message,) = queue.claim(channel, worker="test", lease=60)
    queue.dead_letter(message, reason)


def letters_of(page) -> str:
    """The words of the section of messages that could not be delivered."""
    content = page.content.decode().partition('aria-labelledby="st3-letters"')[2]
    return text(type("Part", (), {"content": content.partition("</section>")[0].encode()}))


def test_messages_that_could_not_be_delivered_are_shown_and_put_back(superuser) -> None:
    dead_letter("odd", "<b>no key</b>")
    before = dashboard(superuser)

    page = post_command(superuser, "replay", "testapp.Invoice")

    assert "&lt;b&gt;no key" in letters_of(before)
    assert "1 message of Invoices could not be delivered" in text(before)
    assert shown_messages(page) == ["1 message is in the queue again."]
    channel, queue = Invoice.get_event_channel(), get_queue()
    assert (queue.dead_letter_count(channel), queue.waiting(channel)) == (0, 1)
    assert "None. What cannot be delivered is listed here" in letters_of(page)


def test_one_message_is_put_back_and_the_others_stay(superuser) -> None:
    for name in ("first", "second", "third"):
        dead_letter(name, "no key")
    data = {"action": "replay", "target": "testapp.Invoice", "letter": "second"}

    page = superuser.post(reverse(COMMAND), data, follow=True)
    again = superuser.post(reverse(COMMAND), data, follow=True)

    letters = get_queue().dead_letters(Invoice.get_event_channel())
    assert [letter["id"] for letter in letters] == ["third", "first"]
    assert shown_messages(page) == ["1 message is in the queue again."]
    assert shown_messages(again) == ["There is no such message: it was put back already."]


@pytest.mark.parametrize("key", ["{pk}", "10000000000000000000000", "odd", "\x00", ""])
def test_a_message_that_names_a_task_leads_to_it(superuser, key) -> None:
    task = bring_to(Invoice.objects.create(), Status.SUCCESS)
    dead_letter("odd", "no key", id=key.format(pk=task.pk))

    words = letters_of(dashboard(superuser))

    expected = f"Invoice {task.pk} succeededno key" if key == "{pk}" else "oddno key"
    assert expected in words


def test_characters_that_no_page_can_hold_are_escaped(superuser) -> None:
    dead_letter("odd", "no \ud800 key")
    reported(version="\ud800")

    page = dashboard(superuser)

    assert page.status_code == 200
    assert "no \\ud800 key" in letters_of(page)


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

    assert "Redis does not answer" in words
    assert "127.0.0.1" not in words


def test_a_project_without_redis_polls_and_has_no_problem(superuser, settings) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "none://"
    bring_to(Invoice.objects.create(), Status.RUNNING)

    page = dashboard(superuser)

    words = text(page)
    assert "No Redis: workers poll the tables." in words
    assert "Redis does not answer" not in words
    assert [node["state"] for node in page.context["nodes"]] == ["runs"]
    assert page.context["attention"].mood == "well"


def test_without_redis_a_worker_that_runs_a_task_can_be_stopped(superuser, settings) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "none://"
    task = bring_to(Invoice.objects.create(), Status.RUNNING)

    assert "Stop the node" in row(dashboard(superuser), f"node-{task.worker}")
    assert "is asked to stop" in text(post_command(superuser, "stop", task.worker))
    assert "There is no such worker" in text(post_command(superuser, "stop", "unknown"))

    [command] = control.current_commands()
    assert (command.action, command.target) == (control.STOP, task.worker)


def test_all_is_well_if_a_node_reports_and_nothing_waits(superuser) -> None:
    reported()

    page = dashboard(superuser)

    assert "All is well." in text(page)
    assert "1 node reports, nothing waits." in text(page)


def test_without_nodes_and_tasks_nothing_runs_yet(superuser) -> None:
    page = dashboard(superuser)

    assert page.context["attention"].mood == "idle"
    assert "Nothing runs yet: no node reports." in text(page)
    assert "python manage.py django-simpletask3-server" in text(page)


def test_a_queue_without_a_node_stands_still_and_comes_first(superuser) -> None:
    task = Reminder.objects.create()
    get_queue().push(Reminder.get_event_channel(), [(str(task.pk), {})])
    reported()

    page = dashboard(superuser)

    (entry,) = page.context["attention"].entries
    assert entry.title.startswith("Friendly reminders stand still since ")
    assert "No node takes this queue. 1 task waits." in entry.details
    assert [link.label for link in entry.links] == ["Waiting tasks", "Nodes"]
    assert listed_by(superuser, entry.links[0].url) == {task.pk}
    assert [offer.action for offer in entry.offers] == ["pause"]
    assert page.context["queues"][0]["model"] == "testapp.Reminder"
    assert "stuck, " in row(page, "queue-testapp.Reminder")
    assert "takes tasks" in row(page, "queue-testapp.Invoice")


def test_everything_that_needs_attention_has_a_link_or_a_button(superuser, monkeypatch) -> None:
    every = [
        Problem(kind, PROBLEM_TEXT, {"model": "testapp.Invoice", "node": "n", "subscription": "s"})
        for kind in ProblemKind
        if kind not in (ProblemKind.OVERDUE_SCHEDULE, ProblemKind.DEAD_LETTERS)
    ]
    every.append(Problem(ProblemKind.OVERDUE_SCHEDULE, PROBLEM_TEXT, {"schedule": "nightly"}))
    letters = {"model": "testapp.Invoice", "dead_letters": 2}
    every.append(Problem(ProblemKind.DEAD_LETTERS, PROBLEM_TEXT, letters))
    monkeypatch.setattr(problems, "find_problems", lambda _health: iter(every))

    entries = dashboard(superuser).context["attention"].entries

    assert len(entries) == len(ProblemKind)
    assert all(entry.links for entry in entries)


def test_the_script_gets_the_content_alone(superuser, operator) -> None:
    reported()
    url = reverse("admin:django_simpletask3_dashboard_live")

    content = superuser.get(url, {"period": "day"}).content.decode()

    assert content.startswith("<section")
    assert "<html" not in content
    assert "Last day" in content
    assert 'id="node-node-1"' in content


def counted(queries: CaptureQueriesContext) -> int:
    """How many numbers and samples were read of the database."""
    return sum(query["sql"].count(" AS slice") for query in queries)


def test_a_poll_reads_and_sends_charts_only_if_the_page_has_older_ones(
    superuser, time_machine
) -> None:
    bring_to(Invoice.objects.create(), Status.SUCCESS)
    time_machine.move_to(timezone.now(), tick=False)
    url = reverse("admin:django_simpletask3_dashboard_live")
    shown = {"period": "week", "charts": dashboard(superuser).context["charts_version"]}

    with CaptureQueriesContext(connection) as few:
        kept = superuser.get(url, shown)
    time_machine.shift(30)
    with CaptureQueriesContext(connection) as many:
        sent = superuser.get(url, shown)

    assert [page.content.count(b"0 0 600 96") for page in (kept, sent)] == [0, 4]
    assert "data-st3-keep></section>" in kept.content.decode()
    assert f'data-st3-charts="{int(shown["charts"]) + 1}"' in sent.content.decode()
    assert counted(few) < counted(many)


def test_schedules_are_shown_with_the_next_one_first(superuser) -> None:
    for key, cron, enabled in (("later", "0 0 1 1 *", True), ("off", "* * * * *", False)):
        own_schedule(key, cron, enabled)
    own_schedule("soon", "* * * * *", True)

    page = dashboard(superuser)

    rows = page.context["schedules"]
    assert [schedule["name"] for schedule in rows] == ["soon", "later", "off"]
    assert ", in " in rows[0]["next"]
    assert rows[2]["next"].startswith("switched off")


def test_the_time_to_the_next_task_of_a_schedule_is_rounded(superuser, time_machine) -> None:
    time_machine.move_to("2026-11-28T14:05:00+00:00", tick=False)
    with task_clock("2026-11-28T14:05+00:00"):
        own_schedule("nightly", "0 22 * * *", True)

        (row,) = dashboard(superuser).context["schedules"]

    assert row["next"] == "22:00, in 8 h"


def test_a_schedule_says_how_its_last_task_ended(superuser) -> None:
    task = bring_to(Invoice.objects.create(), Status.FAILED)
    own_schedule("hourly", "0 * * * *", True)
    ScheduleTick.objects.create(
        schedule="hourly",
        tick=clock.utc_now("default") - timedelta(minutes=5),
        outcome="fired",
        model="testapp.Invoice",
        task_key=str(task.pk),
    )

    (schedule,) = dashboard(superuser).context["schedules"]

    assert (schedule["last_state"], schedule["outcome"]) == ("failed", "failed")
    assert schedule["last"]


def test_the_first_schedule_can_be_added_by_those_who_may(superuser, operator) -> None:
    link = f'<a href="{reverse("admin:django_simpletask3_schedule_add")}">Add a schedule</a>'
    viewer = operator("view")
    viewing = Permission.objects.get(codename="view_schedule")
    User.objects.get(username="mia").user_permissions.add(viewing)

    assert link in dashboard(superuser).content.decode()
    content = dashboard(viewer).content.decode()
    assert link not in content
    assert "List of schedules" in content


def test_schedules_are_for_those_who_may_view_them(operator) -> None:
    own_schedule("hourly", "0 * * * *", True)

    page = dashboard(operator("view"))

    assert page.context["schedules"] == []
    assert "hourly" not in page.content.decode()
