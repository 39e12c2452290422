"""The auditor's page of recoveries."""

import csv
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_simpletask3.db import clock
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
    for word in ("recovered", f"testapp.Invoice {task.pk}", "node-1", "&lt;i&gt;odd"):
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
    monkeypatch.setattr("django_simpletask3.admin.dashboard.recoveries.PAGE_SIZE", 2)
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

    counted = listed(superuser).context["counts"]

    assert [(one["reason"], one["number"]) for one in counted] == [
        ("worker_died", "2"),
        ("lease_expired", "1"),
    ]


def test_a_count_without_a_reason_leads_to_those_without(superuser) -> None:
    lost(reason=""), lost(), lost()

    counts = {one["reason"]: one for one in listed(superuser).context["counts"]}
    page = listed(superuser, counts[""]["query"])

    assert (counts[""]["number"], len(page.context["recoveries"])) == ("1", 1)


def test_a_count_leads_to_the_same_24_hours(superuser, time_machine, monkeypatch) -> None:
    monkeypatch.setattr(clock, "now", lambda using: timezone.now())
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for hours in (-30, -20, -1):
        time_machine.move_to(noon + timedelta(hours=hours), tick=False)
        lost()
    time_machine.move_to(noon, tick=False)
    superuser.force_login(User.objects.get(username="root"))

    (counted,) = listed(superuser).context["counts"]
    page = listed(superuser, counted["query"])

    assert (counted["number"], len(page.context["recoveries"])) == ("2", 2)
    assert "Since 2026-02-28 12:00." in text(page)


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
    assert [one["number"] for one in page.context["counts"]] == ["1"]
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

    assert len(seen) <= 5
