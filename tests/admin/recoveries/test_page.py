"""The auditor's page of recoveries."""

import csv
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from django_simpletask3.admin.recoveries.rows import why_words
from django_simpletask3.db import clock
from django_simpletask3.monitoring.recovery_report import Recovery
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.admin.pages import text
from tests.steps import bring_to
from tests.testapp.models import Invoice, Reminder

pytestmark = pytest.mark.django_db


def listed(client, query: str = "", **asked):
    where = reverse("admin:django_simpletask3_dashboard_recoveries")
    return client.get(f"{where}?{query}" if query else where, asked or None)


def lost(model=Invoice, reason: str = "worker_died"):
    task = bring_to(model.objects.create(), Status.RUNNING)
    apply(task, EventKind.RECOVER, reason=reason, data={"lost_worker": "node-1"})
    return task


def test_a_recovery_is_reported_with_its_circumstances(superuser) -> None:
    task = lost(reason="<i>odd</i>")

    page = listed(superuser)

    words = text(page)
    for word in ("ran again", f"Invoice {task.pk}", "node-1", "“&lt;i&gt;odd"):
        assert word in words
    assert f"/testapp/invoice/{task.pk}/change/" in page.content.decode()


def test_the_list_is_narrowed_down(superuser) -> None:
    lost(reason="a"), lost(Reminder, reason="b")
    apply(bring_to(Invoice.objects.create(), Status.RUNNING), EventKind.RELEASE, reason="c")
    today = timezone.now().date()

    def number(**asked: object) -> int:
        return len(listed(superuser, **asked).context["recoveries"])

    assert number() == 3
    assert number(model="testapp.Reminder") == 1
    assert number(kind="release") == 1
    assert number(reason="a") == 1
    assert number(worker="node-1") == 2
    assert number(worker="node-2") == 0
    assert number(since=today) == number(until=today) == 3
    assert number(since=today + timedelta(days=1)) == number(until=today - timedelta(days=1)) == 0


def test_an_invalid_filter_restricts_nothing(superuser) -> None:
    lost()

    for asked in (
        {"model": "x"},
        {"kind": "ack"},
        {"since": "never"},
        {"before": "x", "skip": "-"},
    ):
        page = listed(superuser, **asked)
        assert (page.status_code, len(page.context["recoveries"])) == (200, 1)


def test_older_ones_are_a_page_away(superuser, monkeypatch) -> None:
    monkeypatch.setattr("django_simpletask3.admin.recoveries.page.PAGE_SIZE", 2)
    tasks = [lost() for _ in range(5)]

    page, seen = listed(superuser), []
    while True:
        seen += page.context["recoveries"]
        if not page.context["older"]:
            break
        page = listed(superuser, page.context["older"])

    assert len(seen) == len({str(one["task"]) for one in seen}) == len(tasks)


def test_the_day_is_counted(superuser) -> None:
    lost(), lost(), lost(reason="lease_expired")

    page = listed(superuser)
    (counted,) = page.context["numbers_of_today"]

    assert (
        "Today tasks ran again 3 times after their workers or messages were lost. "
        "Each task below says what became of it." in text(page)
    )
    assert len(listed(superuser, counted["query"]).context["recoveries"]) == 3


def test_those_without_a_reason_can_be_listed(superuser) -> None:
    lost(reason=""), lost(), lost()

    page = listed(superuser, unreasoned="on")

    assert len(page.context["recoveries"]) == 1


def test_those_since_an_exact_time_can_be_listed(superuser, time_machine, monkeypatch) -> None:
    monkeypatch.setattr(clock, "now", lambda using: timezone.now())
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for hours in (-30, -20, -1):
        time_machine.move_to(noon + timedelta(hours=hours), tick=False)
        lost()
    time_machine.move_to(noon, tick=False)
    superuser.force_login(User.objects.get(username="root"))

    page = listed(superuser, after=(noon - timedelta(days=1)).isoformat())

    assert len(page.context["recoveries"]) == 2
    assert "since 2026-02-28 12:00" in text(page)


@pytest.mark.parametrize(
    "query",
    [
        "until=9999-12-31",
        "until=0001-01-01",
        "since=0001-01-01",
        "since=9999-12-31",
        "before=0001-01-01T00:00:00%2B08:00",
        "before=9999-12-31T23:59:59-08:00",
        "before=2090-01-01T00:00:00%2B00:00&skip=999999",
        "after=0001-01-01T00:00:00%2B08:00",
        "after=9999-12-31T23:59:59-08:00",
        "after=x",
    ],
)
def test_odd_moments_are_no_error_and_bounded(superuser, query) -> None:
    lost()
    with CaptureQueriesContext(connection) as seen:
        page = listed(superuser, query)
    export = superuser.get(reverse("admin:django_simpletask3_dashboard_export") + "?" + query)

    assert page.status_code == 200
    assert b"".join(export.streaming_content)
    assert "LIMIT 1000100" not in "".join(query["sql"] for query in seen)


def test_the_listed_recoveries_can_be_exported(superuser) -> None:
    task = lost(reason="=1+1")
    lost(Reminder)
    where = reverse("admin:django_simpletask3_dashboard_export")

    response = superuser.get(where, {"model": "testapp.Invoice"})

    file = b"".join(response.streaming_content).decode()
    (one,) = csv.DictReader(file.splitlines())
    assert (one["task"], one["reason"], one["kind"]) == (str(task.pk), "'=1+1", "recover")
    assert "attachment" in response.headers["Content-Disposition"]


def test_only_what_the_user_may_view_is_listed(staff) -> None:
    client = staff("view_invoice")
    User.objects.get(username="mia").user_permissions.add(
        Permission.objects.get(codename="view_dashboard")
    )
    lost(), lost(Reminder)

    page = listed(client)
    export = client.get(reverse("admin:django_simpletask3_dashboard_export"))

    assert len(page.context["recoveries"]) == 1
    assert "Today 1 task ran again" in text(page)
    assert [day.total for day in page.context["histogram"].newest_first] == [1]
    assert b"testapp.Reminder" not in b"".join(export.streaming_content)


def test_without_permission_for_the_dashboard_recoveries_are_refused(staff) -> None:
    client = staff("view_invoice")

    assert listed(client).status_code == 403
    assert client.get(reverse("admin:django_simpletask3_dashboard_export")).status_code == 403


def test_a_page_takes_few_queries(superuser) -> None:
    lost(), lost(Reminder)
    listed(superuser)

    with CaptureQueriesContext(connection) as seen:
        listed(superuser)

    assert len(seen) <= 8


CODES = {"lease_expired", "worker_died", "node_restarted", "worker_stopping", "message_lost"}


def test_a_row_has_words_and_no_code(superuser) -> None:
    for reason in sorted(CODES):
        lost(reason=reason)
    task = bring_to(Invoice.objects.create(), Status.RUNNING)
    apply(task, EventKind.DROP, reason="worker_died", data={"lost_worker": "app-3:2050:17"})

    words = text(listed(superuser))

    assert not [code for code in CODES if code in words]
    assert "app-3 › 2050 ended, once too often" in words
    assert "node-1 no longer renewed its lease" in words
    assert "its message was lost, node-1" in words


def test_a_row_says_what_became_of_the_task(superuser) -> None:
    waiting, done = lost(), lost()
    bring_to(done, Status.SUCCESS)
    gone = lost()
    gone_pk = gone.pk
    gone.cancel()
    gone.delete()

    rows = listed(superuser).context["recoveries"]

    became = {strip_tags(row["task"]): strip_tags(row["became"]).split()[:1] for row in rows}
    assert became == {
        f"Invoice {waiting.pk}": ["waiting"],
        f"Invoice {done.pk}": ["succeeded"],
        f"Invoice {gone_pk}": [],
    }


def test_the_row_of_a_late_result_names_its_attempt() -> None:
    place = {"model": "testapp.Invoice", "database": "default", "task": "1", "sequence": 4}
    who = {"worker": "app-3:2051:17", "attempt": 2, "actor": "", "reason": ""}

    late = Recovery(time=timezone.now(), kind="reject", **place, **who)

    assert why_words(late) == "app-3 › 2051 came back with attempt 2, which no longer counted"


def test_each_of_thirty_days_is_counted_and_leads_to_its_list(
    superuser, time_machine, monkeypatch
) -> None:
    monkeypatch.setattr(clock, "now", lambda using: timezone.now())
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for days in (40, 29, 2, 2, 0):
        time_machine.move_to(noon - timedelta(days=days), tick=False)
        task = lost()
    apply(bring_to(task, Status.RUNNING), EventKind.DROP, reason="worker_died")
    superuser.force_login(User.objects.get(username="root"))

    picture = listed(superuser).context["histogram"]
    of_a_day = listed(superuser, picture.days[-3].query)

    assert {day.day.isoformat(): day.total for day in picture.newest_first} == {
        "2026-03-01": 2,
        "2026-02-27": 2,
        "2026-01-31": 1,
    }
    assert (len(picture.days), picture.top, len(list(picture.bars()))) == (30, 2, 4)
    assert len(of_a_day.context["recoveries"]) == 2
    assert "Feb. 27, 2026" in text(of_a_day)


def test_a_day_with_more_than_are_counted_says_so(superuser, monkeypatch) -> None:
    monkeypatch.setattr("django_simpletask3.admin.recoveries.histogram.MAX_COUNTED", 2)
    for _ in range(4):
        lost()

    [today] = listed(superuser).context["histogram"].newest_first

    assert today.numbers[0] == "2 or more"


def test_without_recoveries_it_says_so_and_draws_nothing(superuser) -> None:
    page = listed(superuser)
    filtered = listed(superuser, worker="app-9")

    words = text(page)
    assert "Today nothing was lost: no task had to run again." in words
    assert "Nothing was recovered." in words
    assert "<figure" not in page.content.decode()
    assert "Clear all filters" in text(filtered)
