"""The page that says whether the record is whole, and by which audit."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.text import capfirst

from django_simpletask3.ledger.tombstone import Tombstone
from django_simpletask3.models import AuditRun
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.states import Status
from tests.admin.pages import text, url
from tests.steps import bring_to, create_task, run_command
from tests.testapp.models import Elsewhere, Invoice, Reminder

pytestmark = pytest.mark.django_db

LEDGER = reverse("admin:django_simpletask3_ledger_changelist")
RESULT = reverse("admin:django_simpletask3_ledger_result")


def audit(*words: str) -> int:
    return run_command("django-simpletask3-audit", *words)[1]


def tamper(task: Any) -> None:
    rows_of(type(task), "default").filter(pk=task.pk).update_managed(worker="<b>x</b>")


@pytest.fixture
def reader(watcher: Any) -> Client:
    """The browser of a user who sees the dashboard and two kinds of tasks."""
    client: Client = watcher("view_invoice", "view_reminder")
    return client


def table_of(page: Any, model: Any, using: str = "default") -> dict[str, Any]:
    place = (capfirst(model._meta.verbose_name_plural), using)
    [row] = [row for row in page.context["tables"] if (row["name"], row["database"]) == place]
    found: dict[str, Any] = row
    return found


def test_an_audit_that_finds_nothing_makes_the_record_whole(reader: Client) -> None:
    bring_to(create_task(Invoice), Status.SUCCESS)

    assert audit("--model", "testapp.Invoice,testapp.Reminder") == 0

    page = reader.get(LEDGER)
    assert str(page.context["health"]["title"]) == "The record is whole."
    assert "read all 3 events of 3 tables" in text(page)
    assert "found no event changed, missing or added" in text(page)
    assert (table_of(page, Invoice)["events"], table_of(page, Invoice)["findings"]) == (
        "3",
        0,
    )
    [run] = page.context["audits"]
    assert (run["found"], run["time"].partition(",")[0]) == ("nothing", "today")


def test_without_an_audit_it_says_that_nothing_is_known_and_what_to_do(reader: Client) -> None:
    create_task(Invoice)

    page = reader.get(LEDGER)

    assert str(page.context["health"]["title"]) == "Nothing says yet whether the record is whole."
    assert "No audit has run yet" in text(page)
    assert "manage.py django-simpletask3-audit" in text(page)
    assert table_of(page, Invoice)["events"] == ""


def test_what_an_audit_has_found_is_named_until_it_is_repaired(reader: Client) -> None:
    task = bring_to(create_task(Invoice), Status.RUNNING)
    tamper(task)

    assert audit("--model", "testapp.Invoice,testapp.Reminder") == 1
    page = reader.get(LEDGER)
    result = reader.get(RESULT).json()
    audit("--model", "testapp.Invoice,testapp.Reminder", "--repair")
    repaired = reader.get(LEDGER)

    assert str(page.context["health"]["title"]) == "The record is not whole."
    assert f"/testapp/invoice/{task.pk}/change/" in page.content.decode()
    assert "the row does not say what its events say" in text(page)
    assert "<b>x" not in page.content.decode()
    assert table_of(page, Invoice)["findings"] == 1
    assert [found["task"] for found in result["found"]] == [str(task.pk)]
    assert str(repaired.context["health"]["title"]) == "The record is whole."
    assert [run["found"] for run in repaired.context["audits"]] == [
        "1 discrepancy, 1 repaired",
        "1 discrepancy",
    ]


def test_an_audit_of_newer_events_does_not_hide_what_the_last_full_one_found(
    reader: Client,
) -> None:
    tamper(bring_to(create_task(Invoice), Status.RUNNING))
    audit("--model", "testapp.Invoice,testapp.Reminder")

    audit("--since", "2090-01-01")

    page = reader.get(LEDGER)
    assert str(page.context["health"]["title"]) == "The record is not whole."
    assert table_of(page, Invoice)["findings"] == 1
    assert "of tasks since" in page.context["audits"][0]["read"]


def test_an_audit_that_was_ended_before_its_end_proves_nothing(reader: Client) -> None:
    AuditRun.objects.create(begin_time=timezone.now(), actor="<i>maria</i>", host="app-1")

    page = reader.get(LEDGER)

    assert "has not ended" in text(page)
    assert "&lt;i&gt;maria&lt;/i&gt; on app-1" in page.content.decode()
    assert str(page.context["health"]["title"]) == "Nothing says yet whether the record is whole."


def test_the_last_full_audit_counts_however_many_followed(reader: Client) -> None:
    create_task(Invoice)
    audit("--model", "testapp.Invoice,testapp.Reminder")
    later = timezone.now()
    AuditRun.objects.bulk_create(
        AuditRun(begin_time=later, end_time=later, since=later, tables=[]) for _ in range(25)
    )

    page = reader.get(LEDGER)

    assert str(page.context["health"]["title"]) == "The record is whole."
    assert len(page.context["audits"]) == 20


def test_what_was_found_counts_however_many_audits_followed(reader: Client) -> None:
    audit("--model", "testapp.Invoice,testapp.Reminder")
    tamper(bring_to(create_task(Invoice), Status.RUNNING))
    audit("--since", "2020-01-01", "--model", "testapp.Invoice")
    later = timezone.now()
    AuditRun.objects.bulk_create(
        AuditRun(begin_time=later, end_time=later, since=later, tables=[]) for _ in range(25)
    )

    page = reader.get(LEDGER)

    assert str(page.context["health"]["title"]) == "The record is not whole."
    assert "found nothing" not in text(page)
    assert table_of(page, Invoice)["findings"] == 1


def test_a_discrepancy_that_several_audits_found_counts_once_until_one_repairs_it(
    reader: Client,
) -> None:
    tampered = "--since", "2020-01-01", "--model", "testapp.Invoice"
    audit("--model", "testapp.Invoice,testapp.Reminder")
    tamper(bring_to(create_task(Invoice), Status.RUNNING))
    for _ in range(3):
        audit(*tampered)

    found = reader.get(LEDGER)
    audit(*tampered, "--repair")
    repaired = reader.get(LEDGER)

    assert "found 1 discrepancy that is not repaired" in text(found)
    assert str(repaired.context["health"]["title"]) == "The record is whole."


def test_discrepancies_that_are_not_listed_count(reader: Client) -> None:
    now = timezone.now()
    counts = {"tasks": 900, "events": 900, "findings": 150, "repaired": 20}
    tables = [{"model": "testapp.Invoice", "database": "default", **counts}]
    place = {"model": "testapp.Invoice", "database": "default", "sequence": 1, "problem": "row"}
    found = [{**place, "task": str(n), "detail": "", "repaired": n < 20} for n in range(100)]
    for since in (None, now):
        AuditRun.objects.create(
            begin_time=now, end_time=now, since=since, findings=150, tables=tables, found=found
        )

    assert table_of(reader.get(LEDGER), Invoice)["findings"] == 130


def test_protection_retention_and_what_was_removed_are_shown(
    reader: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = {Status.SUCCESS: timedelta(days=365), "deleted": timedelta(days=30)}
    monkeypatch.setattr(Invoice, "django_simpletask3_retention", rules)
    now = timezone.now()
    for days, scope, tasks in (
        (0, "task", 40),
        (0, "stream", 2),
        (0, "payload", 9),
        (3, "task", 7),
    ):
        columns = {"time": now - timedelta(days=days), "scope": scope, "tasks": tasks}
        Tombstone.objects.create(model="testapp.Invoice", is_open=False, **columns)

    invoices, reminders = (table_of(reader.get(LEDGER), n) for n in (Invoice, Reminder))

    assert invoices["kept"] == "succeeded 1 year, deleted 30 days"
    assert reminders["kept"] == "for ever"
    assert invoices["removed"].partition(" on ")[0] == "42"
    assert str(reminders["removed"]) == "none"
    assert {invoices["is_protected"], reminders["is_protected"]} <= {True, False}


def test_tasks_on_hold_are_counted_and_listed(reader: Client) -> None:
    held, lifted = create_task(Invoice), create_task(Invoice)
    for task in (held, lifted):
        task.hold()
    lifted.lift()
    create_task(Reminder).hold()

    page = reader.get(LEDGER)
    listed = reader.get(f"{url(Invoice)}?id__in={held.pk}")

    assert f"2 tasks are on legal hold: 1 invoice, 1 {Reminder._meta.verbose_name}." in text(page)
    assert f'href="{url(Invoice)}?id__in={held.pk}"' in page.content.decode()
    assert [task.pk for task in listed.context["cl"].result_list] == [held.pk]


def test_only_models_that_the_user_may_view_are_shown(watcher: Any) -> None:
    tamper(bring_to(create_task(Reminder), Status.RUNNING))
    create_task(Reminder).hold()
    audit()

    client = watcher("view_invoice")
    page, result = client.get(LEDGER), client.get(RESULT).json()

    assert [row["name"] for row in page.context["tables"]] == ["Invoices"]
    assert str(page.context["health"]["title"]) == "The record is whole."
    assert "No task is on legal hold." in text(page)
    assert (result["found"], [table["model"] for table in result["tables"]]) == (
        [],
        ["testapp.Invoice"],
    )


def test_it_has_the_permission_of_the_dashboard(staff: Any) -> None:
    client = staff("view_invoice")
    refused = [client.get(address).status_code for address in (LEDGER, RESULT)]
    index = client.get(reverse("admin:index")).content.decode()

    User.objects.get(username="mia").user_permissions.add(
        Permission.objects.get(codename="view_dashboard")
    )

    assert refused == [403, 403]
    assert LEDGER not in index
    assert [client.get(address).status_code for address in (LEDGER, RESULT)] == [200, 200]
    assert LEDGER in client.get(reverse("admin:index")).content.decode()


def test_it_takes_few_statements_whatever_the_tables_hold(superuser: Client) -> None:
    superuser.get(LEDGER)

    with CaptureQueriesContext(connection) as few:
        superuser.get(LEDGER)
    for _ in range(3):
        create_task(Invoice).hold()
    audit()
    with CaptureQueriesContext(connection) as more:
        superuser.get(LEDGER)

    assert len(few) <= 10
    assert len(more) == len(few)


def test_another_database_is_named(superuser: Client) -> None:
    create_task(Elsewhere).hold()

    page = superuser.get(LEDGER)

    assert page.context["has_databases"]
    assert table_of(page, Elsewhere, "other")["kept"]
    assert "1 elsewhere" in text(page)
