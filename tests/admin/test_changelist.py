"""The list of tasks: what it tells of each, and what it costs."""

from datetime import datetime, timedelta

import pytest
from django.contrib.admin.sites import site
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import strip_tags

from django_simpletask3.admin import changelist
from django_simpletask3.db import clock
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.admin.pages import LISTED_MODELS, create_listed_task, text, url
from tests.steps import apply_kinds, bring_to
from tests.testapp.models import Invoice, TextKeyed


def cells(response) -> str:
    """The first row of the list."""
    return response.content.decode().partition("<tbody>")[2].partition("</tr>")[0]


@pytest.mark.parametrize("status", Status)
def test_each_state_has_its_badge_in_words(superuser, status) -> None:
    bring_to(Invoice.objects.create(), status)

    row = cells(superuser.get(url(Invoice)))

    assert f'class="st3-badge st3-{status.name.lower()}"' in row
    assert str(dict(Invoice.STATUS)[status]) in row


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

    rows = content.split('<td class="field-progress_label">')[1:]
    assert sorted(row.partition("</td>")[0] for row in rows) == sorted(
        ["75 % · 3 of 4", "1234 done", "50 %", "-", "-", "-", "-"]
    )
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

    assert "due in 1 min 0 s" in before
    assert "5.0 s" in after


def test_a_task_that_runs_again_claims_no_wait(superuser, finished_task) -> None:
    finished_task.reset()

    row = cells(superuser.get(url(Invoice)))

    assert 'field-waiting_time">-<' in row


def test_the_own_columns_of_an_admin_stand_beside_ours(superuser, pending_task) -> None:
    words = text(superuser.get(url(Invoice)))

    assert "Amount" in words
    assert "By fails" in words


def test_a_long_name_of_a_worker_is_shortened(superuser, pending_task) -> None:
    name = "django-simpletask3-server:testapp.invoice:0:node-1:4711:140"
    apply(pending_task, EventKind.START, worker=name)

    row = cells(superuser.get(url(Invoice)))

    assert f'<span title="{name}">…node-1:4711:140</span>' in row


def test_each_status_says_how_many_tasks_have_it(superuser, monkeypatch) -> None:
    monkeypatch.setattr(changelist, "MAX_COUNTED", 2)
    for status in [Status.PENDING, Status.BLOCKED, *[Status.FAILED] * 2, *[Status.SUCCESS] * 3]:
        bring_to(Invoice.objects.create(), status)

    page = superuser.get(url(Invoice), {"status__exact": "30"})

    counts = {strip_tags(one["badge"])[2:]: one["count"] for one in page.context["cl"].statuses()}
    chosen = [one["is_chosen"] for one in page.context["cl"].statuses()]
    assert counts == {
        "Waiting": "1",
        "Blocked": "1",
        "Running": "0",
        "Succeeded": "2+",
        "Failed": "2",
        "Canceled": "0",
    }
    assert chosen == [False, False, False, False, True, False]


def test_a_status_leads_to_its_tasks(superuser) -> None:
    tasks = {status: bring_to(Invoice.objects.create(), status) for status in Status}
    page = superuser.get(url(Invoice))

    for one, task in zip(page.context["cl"].statuses(), tasks.values(), strict=True):
        listed = superuser.get(url(Invoice) + one["link"]).context["cl"].result_list
        assert list(listed) == [task]


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


def test_dates_cost_two_ends_of_an_index(superuser, finished_task) -> None:
    superuser.get(url(Invoice))

    with CaptureQueriesContext(connection) as seen:
        superuser.get(url(Invoice))

    # Session, user, count, rows, statuses, dates.
    assert len(seen) <= 7
    assert not [query for query in seen.captured_queries if "DISTINCT" in query["sql"]]
