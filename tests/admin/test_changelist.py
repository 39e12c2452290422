"""The list of tasks: what it tells of each, and what it costs."""

from datetime import datetime, timedelta

import pytest
from django.contrib.admin.sites import site
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import strip_tags

from django_simpletask3 import control
from django_simpletask3.admin import changelist
from django_simpletask3.admin.html.pills import STATE_WORDS, state_of_task
from django_simpletask3.context import acting_as
from django_simpletask3.db import clock
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.admin.pages import LISTED_MODELS, create_listed_task, text, url
from tests.steps import apply_kinds, bring_to
from tests.testapp.models import Invoice, TextKeyed


def cells(response) -> str:
    """The first row of the list."""
    return response.content.decode().partition("<tbody ")[2].partition("</tr>")[0]


@pytest.mark.parametrize("status", Status)
def test_each_state_has_its_pill_in_words(superuser, status) -> None:
    task = bring_to(Invoice.objects.create(), status)

    row = cells(superuser.get(url(Invoice)))

    state = state_of_task(task)
    assert f'class="st3-pill st3-{state}"' in row
    assert f"</svg>{STATE_WORDS[state]}</span>" in row


def test_the_list_of_a_paused_queue_says_who_paused_it_and_why(superuser) -> None:
    Invoice.objects.create()
    with acting_as("ada"):
        control.pause(Invoice, reason="stocktaking <1>")

    paused = superuser.get(url(Invoice)).content.decode()
    control.resume(Invoice)
    resumed = superuser.get(url(Invoice)).content.decode()

    assert "The queue of testapp.Invoice has been paused since" in paused
    assert "(ada: stocktaking &lt;1&gt;)." in paused
    assert "st3-pause" not in resumed


def test_more_rows_take_no_more_queries(superuser) -> None:
    Invoice.objects.bulk_enqueue({"amount": n} for n in range(3))
    superuser.get(url(Invoice))  # from here on Django remembers the content types
    with CaptureQueriesContext(connection) as few:
        superuser.get(url(Invoice))
    Invoice.objects.bulk_enqueue({"amount": n} for n in range(60))

    with CaptureQueriesContext(connection) as many:
        superuser.get(url(Invoice))

    assert len(many) == len(few)


@pytest.mark.parametrize("model", LISTED_MODELS)
def test_results_are_not_read_for_the_list(superuser, model) -> None:
    bring_to(create_listed_task(model), Status.SUCCESS)

    (task,) = superuser.get(url(model)).context["cl"].result_list

    assert {"result_data", "error_data"} <= task.get_deferred_fields()


@pytest.mark.parametrize("name", ["result_data", "result_view"])
def test_a_list_that_shows_results_reads_them_with_the_rows(
    superuser, finished_task, monkeypatch, name
) -> None:
    monkeypatch.setattr(site.get_model_admin(Invoice), "list_display", ("pk", name))

    (task,) = superuser.get(url(Invoice)).context["cl"].result_list

    assert task.get_deferred_fields() == {"error_data"}


def test_the_list_says_how_far_running_tasks_are(superuser) -> None:
    reported = [
        {"progress": {"done": 3, "total": 4}},
        {"progress": {"done": 1234}},
        {"progress": 0.5},
        {"progress": {"done": 1, "total": 0}, "more": "x" * 5000},
        {"progress": {"done": "odd"}},
        None,
    ]
    for data in reported:
        task = bring_to(Invoice.objects.create(), Status.RUNNING)
        if data:
            apply(task, EventKind.NOTE, data={"progress": 0.1})
            apply(task, EventKind.NOTE, data=data)
            apply(task, EventKind.NOTE, reason="another note")
    again = bring_to(Invoice.objects.create(), Status.RUNNING)
    apply(again, EventKind.NOTE, data={"progress": 0.9})
    apply_kinds(again, EventKind.RECOVER, EventKind.START)
    apply_kinds(task, EventKind.ACK)

    with CaptureQueriesContext(connection) as seen:
        content = superuser.get(url(Invoice) + "?o=").content.decode()

    rows = [row.partition("</td>")[0] for row in content.split("field-activity_label")[1:]]
    shown = [strip_tags(row.partition(">")[2]).rpartition(" ms, ")[2] for row in rows]
    bars = [row.partition(' value="')[2].partition('"')[0] for row in rows]
    assert list(zip(bars, shown, strict=True)) == [
        ("", "reports no progress"),
        ("", ""),
        ("", "another note"),
        ("", "another note"),
        ("50", "50 %, another note"),
        ("", "1234 done, another note"),
        ("75", "3 of 4, another note"),
    ]
    assert sum("testapp_invoiceevent" in query["sql"] for query in seen.captured_queries) == 1


def test_how_long_a_task_waited_and_ran(superuser, time_machine) -> None:
    begin = timezone.now()
    time_machine.move_to(begin, tick=False)
    task = Invoice.objects.create()
    time_machine.shift(5)
    apply(task, EventKind.START, worker="w1")
    time_machine.shift(200)
    apply(task, EventKind.ACK, worker="w1")

    row = cells(superuser.get(url(Invoice)))

    assert "5.0 s" in row
    assert "3 min 20 s" in row


def test_how_long_a_task_has_been_running(superuser, time_machine) -> None:
    time_machine.move_to(timezone.now(), tick=False)
    bring_to(Invoice.objects.create(), Status.RUNNING)
    time_machine.shift(90)

    assert "1 min 30 s" in cells(superuser.get(url(Invoice)))


def test_how_long_a_task_has_been_waiting_since_it_was_due(superuser, time_machine) -> None:
    now = timezone.now()
    time_machine.move_to(now, tick=False)
    Invoice.objects.create(run_after=now + timedelta(seconds=60))
    before = cells(superuser.get(url(Invoice)))
    time_machine.shift(65)

    after = cells(superuser.get(url(Invoice)))

    assert ", in 1 min" in before
    assert "for 5.0 s" in after


def test_a_task_that_runs_again_claims_no_wait(superuser, finished_task) -> None:
    finished_task.reset()

    row = cells(superuser.get(url(Invoice)))

    assert 'field-waited_label"></td>' in row


def test_the_own_columns_of_an_admin_stand_beside_ours(superuser, pending_task) -> None:
    words = text(superuser.get(url(Invoice)))

    assert "Amount" in words
    assert "Fails" in words


def test_of_a_worker_the_row_names_the_node(superuser, pending_task) -> None:
    name = "app-2:4711:8a2c2be3-67934"
    apply(pending_task, EventKind.START, worker=name)

    row = cells(superuser.get(url(Invoice)))

    assert f'<span title="{name}">app-2</span>' in row


def states_of(page) -> dict[str, str]:
    """The numbers on the pills of the states."""
    return {str(link["word"]): link["count"] for link in page.context["cl"].state_links()}


def test_each_state_says_how_many_tasks_are_in_it(superuser, monkeypatch) -> None:
    monkeypatch.setattr(changelist, "MAX_COUNTED", 2)
    for status in [Status.PENDING, Status.BLOCKED, *[Status.FAILED] * 2, *[Status.SUCCESS] * 3]:
        bring_to(Invoice.objects.create(), status)
    Invoice.objects.create(run_after=timezone.now() + timedelta(days=365))

    page = superuser.get(url(Invoice), {"status__exact": "30"})

    assert states_of(page) == {
        "All": "2+",
        "waiting": "1",
        "scheduled": "1",
        "blocked": "1",
        "running": "0",
        "succeeded": "2+",
        "failed": "2",
        "canceled": "0",
    }
    chosen = [link["word"] for link in page.context["cl"].state_links() if link["is_chosen"]]
    assert chosen == ["failed"]


def test_a_state_leads_to_its_tasks(superuser) -> None:
    due = timezone.now() - timedelta(days=1)
    tasks = {s: bring_to(Invoice.objects.create(run_after=due), s) for s in Status}
    scheduled = Invoice.objects.create(run_after=timezone.now() + timedelta(days=365))
    page = superuser.get(url(Invoice))
    all_link, *links = page.context["cl"].state_links()

    listed = [
        [*superuser.get(url(Invoice) + link["link"]).context["cl"].result_list] for link in links
    ]

    waiting, *others = tasks.values()
    assert listed == [[waiting], [scheduled], *([task] for task in others)]
    assert all_link["link"] == "?"


def test_numbers_of_a_list_on_one_page_are_those_of_its_rows(superuser) -> None:
    bring_to(Invoice.objects.create(), Status.RUNNING)
    superuser.get(url(Invoice))

    with CaptureQueriesContext(connection) as seen:
        page = superuser.get(url(Invoice))

    assert states_of(page)["running"] == "1"
    assert not [query for query in seen.captured_queries if "UNION ALL SELECT 7" in query["sql"]]


def test_a_filtered_list_has_the_number_that_its_rows_confirm(superuser) -> None:
    for amount in (1, 1, 2):
        bring_to(Invoice.objects.create(task_biz_field=str(amount)), Status.FAILED)
    bring_to(Invoice.objects.create(), Status.SUCCESS)

    page = superuser.get(url(Invoice), {"q": "1", "task-state": "failed"})

    assert {word: count for word, count in states_of(page).items() if count} == {"failed": "2"}


def test_no_more_rows_are_counted_than_pages_show(superuser, monkeypatch) -> None:
    monkeypatch.setattr(changelist, "MAX_LISTED", 4)
    Invoice.objects.bulk_enqueue({"amount": n} for n in range(6))

    page = superuser.get(url(Invoice))

    assert page.context["cl"].result_count == 4
    assert "There are more than 4 tasks" in text(page)


def test_keys_that_do_not_tell_are_sorted_by_age_if_they_are_few(superuser, monkeypatch) -> None:
    tasks = [TextKeyed.objects.create(id=key) for key in "bca"]

    few = superuser.get(url(TextKeyed))
    monkeypatch.setattr(changelist, "MAX_LISTED", 2)
    many = superuser.get(url(TextKeyed))
    monkeypatch.setattr(site.get_model_admin(TextKeyed), "ordering", ("pk",))
    chosen = superuser.get(url(TextKeyed))

    assert list(few.context["cl"].result_list) == tasks[::-1]
    assert [task.pk for task in many.context["cl"].result_list] == ["c", "b", "a"]
    assert [task.pk for task in chosen.context["cl"].result_list] == ["a", "b", "c"]
    by_key = ["They are sorted by key." in text(page) for page in (few, many, chosen)]
    assert by_key == [False, True, False]


def test_a_list_that_is_shown_as_a_whole_says_nothing_of_more(superuser, pending_task) -> None:
    assert "There are more than" not in text(superuser.get(url(Invoice)))


def done_on(time_machine, *days: str) -> list:
    """Tasks that were done at noon of these days."""
    tasks = []
    for day in days:
        time_machine.move_to(datetime.fromisoformat(f"{day}T12:00:00+00:00"), tick=False)
        tasks.append(bring_to(Invoice.objects.create(), Status.SUCCESS))
    return tasks


def test_dates_lead_from_years_to_days(superuser, time_machine, monkeypatch) -> None:
    monkeypatch.setattr(clock, "now", lambda using: timezone.now())
    tasks = done_on(time_machine, "2024-11-05", "2025-02-07", "2025-02-09")
    superuser.force_login(User.objects.get(username="root"))

    def choices(query: str = "") -> dict[str, str]:
        drill = superuser.get(url(Invoice) + query).context["cl"].drilldown()
        return {choice.title: choice.link for choice in drill.choices}

    years = choices()
    months = choices(years["2025"])
    days = choices(months["February 2025"])
    listed = superuser.get(url(Invoice) + days["February 7"]).context["cl"]

    assert list(years) == ["2024", "2025"]
    assert list(months) == ["January 2025", "February 2025"]
    assert list(days) == [f"February {n}" for n in range(1, 10)]
    assert list(listed.result_list) == [tasks[1]]
    assert listed.drilldown().back.title == "February 2025"


def test_within_one_year_months_come_first(superuser, time_machine, monkeypatch) -> None:
    monkeypatch.setattr(clock, "now", lambda using: timezone.now())
    done_on(time_machine, "2025-02-07", "2025-04-09")
    superuser.force_login(User.objects.get(username="root"))

    drill = superuser.get(url(Invoice)).context["cl"].drilldown()

    assert [choice.title for choice in drill.choices] == [
        "February 2025",
        "March 2025",
        "April 2025",
    ]


def test_where_nothing_is_done_there_are_no_dates(superuser, pending_task) -> None:
    assert superuser.get(url(Invoice)).context["cl"].drilldown() is None


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.RUNNING, Status.BLOCKED])
def test_a_list_takes_six_statements(superuser, status, monkeypatch) -> None:
    monkeypatch.setattr(site.get_model_admin(Invoice), "list_per_page", 1)
    for _ in range(2):
        bring_to(Invoice.objects.create(), status)
    superuser.get(url(Invoice))

    with CaptureQueriesContext(connection) as seen:
        superuser.get(url(Invoice))

    # Session, user, count, rows, last events, states.
    assert len(seen) <= 6


def test_dates_cost_two_ends_of_an_index(superuser, finished_task) -> None:
    address = url(Invoice) + f"?done_time__year={finished_task.done_time.year}"
    superuser.get(address)

    with CaptureQueriesContext(connection) as seen:
        page = superuser.get(address)

    # Session, user, count, rows, last events, dates, states.
    assert len(seen) <= 7
    assert page.context["cl"].drilldown() is not None
    assert not [query for query in seen.captured_queries if "DISTINCT" in query["sql"]]


def test_dates_lead_to_what_pages_do_not_show(superuser, finished_task, monkeypatch) -> None:
    bring_to(Invoice.objects.create(), Status.SUCCESS)

    whole = superuser.get(url(Invoice))
    monkeypatch.setattr(changelist, "MAX_LISTED", 1)
    part = superuser.get(url(Invoice))

    assert ["Done on" in text(page) for page in (whole, part)] == [False, True]
