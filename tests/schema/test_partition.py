"""Events by months, on PostgreSQL: nothing is lost, nothing doubled, nothing can be changed."""

from datetime import UTC, datetime

import pytest
from django.db import connection

from tests.projects import INVOICE, READY, Project

pytestmark = pytest.mark.thorough

COMMAND = "django-simpletask3-migrations"
SAVE = """
from django.utils import timezone
task = Invoice(amount=1)
task.save()
task.note("looked at")
told = task.pk
"""
PLACES = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SELECT tableoid::regclass::text, sequence FROM {table} ORDER BY id")
    told = cursor.fetchall()
"""
PARTITIONS = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits "
        "WHERE inhparent = 'app_invoiceevent'::regclass ORDER BY 1"
    )
    told = [name for (name,) in cursor.fetchall()]
"""
UNIQUE = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute(
        "SELECT indrelid::regclass::text, array_agg(pg_get_indexdef(indexrelid)) FROM pg_index "
        "JOIN pg_inherits ON inhrelid = indrelid WHERE indisunique "
        "AND inhparent = 'app_invoiceevent'::regclass GROUP BY 1"
    )
    told = {
        name: sorted(text.partition("btree ")[2] for text in texts)
        for name, texts in cursor.fetchall()
    }
"""
EACH = ["(id)", "(task_id, sequence)"]
# A later month, as the clock of the database will say one day.
LATER = """
from datetime import datetime, timedelta
from unittest import mock
from django_simpletask3.db import clock
later = datetime.fromisoformat({moment!r})
with mock.patch.object(clock, "now", lambda using: later):
    Invoice.objects.get(pk={pk}).note("much later")
told = 1
"""
TWICE = """
last = InvoiceEvent.objects.filter(task={pk}).order_by("sequence").first()
last.pk, last.event_time = None, last.event_time.replace(year=last.event_time.year + {years})
last._state.adding = True
last.save()
"""
KINDS = "told = [e.reason for e in InvoiceEvent.objects.order_by('task_id', 'sequence')]"


@pytest.fixture
def divided(server_project: Project) -> tuple[Project, int]:
    """A project with a task of two events, whose table was then divided; and the task's key."""
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL divides tables")
    server_project.models(INVOICE)
    server_project.manage("makemigrations", "app")
    server_project.manage(COMMAND, "app")
    server_project.manage("migrate", "-v0")
    pk = server_project.shell(SAVE)
    server_project.manage(COMMAND, "app", "--template", "partition_events", "--until", months(2))
    server_project.manage("migrate", "-v0")
    return server_project, pk


def months(ahead: int, form: str = "%Y-%m", day: int = 1) -> str:
    now = datetime.now(UTC)
    number = now.month - 1 + ahead
    return datetime(now.year + number // 12, number % 12 + 1, day, 12, tzinfo=UTC).strftime(form)


def sound(project: Project) -> bool:
    """Whether the audit, the triggers and makemigrations have nothing to say."""
    project.manage("makemigrations", "--check", "--dry-run")
    assert "no issues" in project.manage("check", "--database", "default")
    return "nothing is wrong" in project.manage("django-simpletask3-audit")


def later(project: Project, pk: int, ahead: int) -> None:
    project.shell(LATER.format(pk=pk, moment=months(ahead, "%Y-%m-%dT%H:%M:%S+00:00", 15)))


def test_events_lie_by_their_months(divided: tuple[Project, int]) -> None:
    project, pk = divided
    later(project, pk, 1)
    later(project, pk, 5)

    before, month = months(1, "before_%Y_%m"), months(1, "%Y_%m")
    assert project.shell(PLACES.format(table="app_invoiceevent")) == [
        [f"app_invoiceevent_{before}", 1],
        [f"app_invoiceevent_{before}", 2],
        [f"app_invoiceevent_{month}", 3],
        ["app_invoiceevent_default", 4],
    ]
    unique = project.shell(UNIQUE)
    assert {name: columns for name, columns in unique.items() if columns != EACH} == {}
    assert sorted(unique) == project.shell(PARTITIONS)
    assert sound(project)


def test_a_number_is_used_once_in_a_month_and_across_months(divided: tuple[Project, int]) -> None:
    project, pk = divided

    for years in (0, 1):
        said = project.try_to("-c", READY + TWICE.format(pk=pk, years=years))
        assert "IntegrityError" in said.text

    assert len(project.shell(KINDS)) == 2


def test_no_partition_can_be_changed(divided: tuple[Project, int]) -> None:
    project, pk = divided
    later(project, pk, 5)
    run = "from django.db import connection\nconnection.cursor().execute({!r})"

    for what in ("UPDATE {} SET reason = 'x'", "DELETE FROM {}"):
        for place in ("app_invoiceevent", "app_invoiceevent_default"):
            said = project.try_to("-c", READY + run.format(what.format(place)))
            assert "append-only" in said.text

    assert project.shell(KINDS) == ["", "looked at", "much later"]


def test_a_switch_that_is_off_in_one_partition_is_told(divided: tuple[Project, int]) -> None:
    project, _ = divided
    off = "ALTER TABLE app_invoiceevent_default DISABLE TRIGGER simpletask3_append_only_change"
    project.shell(f"from django.db import connection\nconnection.cursor().execute({off!r})\ntold=1")

    assert "W201" in project.try_to("manage.py", "check", "--database", "default").text


def test_months_are_added_before_or_after_they_are_needed(divided: tuple[Project, int]) -> None:
    project, pk = divided
    later(project, pk, 4)

    project.manage(COMMAND, "app", "--template", "extend_partitions", "--until", months(5))
    project.manage("migrate", "-v0")

    assert project.shell(PARTITIONS) == sorted(
        [
            f"app_invoiceevent_{months(1, 'before_%Y_%m')}",
            "app_invoiceevent_default",
            *(f"app_invoiceevent_{months(ahead, '%Y_%m')}" for ahead in range(1, 6)),
        ]
    )
    places = project.shell(PLACES.format(table="app_invoiceevent"))
    assert places[-1] == [f"app_invoiceevent_{months(4, '%Y_%m')}", 3]
    assert sound(project)


def test_the_way_back_makes_one_table_of_them(divided: tuple[Project, int]) -> None:
    project, pk = divided
    later(project, pk, 1)
    later(project, pk, 5)

    project.manage("migrate", "app", "0002", "-v0")

    assert {place for place, _ in project.shell(PLACES.format(table="app_invoiceevent"))} == {
        "app_invoiceevent"
    }
    project.shell(SAVE)
    assert len(project.shell(KINDS)) == 6
    assert "no issues" in project.manage("check", "--database", "default")
    project.manage("migrate", "-v0")
    assert sound(project)


def test_a_divided_history_is_renamed_and_goes_on(divided: tuple[Project, int]) -> None:
    project, pk = divided
    # Going back over a rename, Django looks for content types that this app does not depend on.
    project.edit("settings.py", '"django.contrib.auth", "django.contrib.contenttypes", ', "")
    project.models(INVOICE.replace("Invoice", "Bill"))
    project.manage("django-simpletask3-rename", "app.Invoice", "Bill")
    project.manage("migrate", "-v0")

    project.shell(SAVE.replace("Invoice", "Bill"))
    later_bill = LATER.replace("Invoice", "Bill")
    moment = months(1, "%Y-%m-%dT%H:%M:%S+00:00", 15)
    project.shell(later_bill.format(pk=pk, moment=moment))
    twice = TWICE.replace("Invoice", "Bill").format(pk=pk, years=1)
    assert "IntegrityError" in project.try_to("-c", READY + twice).text
    assert sound(project)

    project.manage("migrate", "app", "0002", "-v0")

    assert "no issues" in project.manage("check", "--database", "default")


def test_tasks_run_and_are_pruned_as_before(divided: tuple[Project, int]) -> None:
    project, _ = divided
    project.models(
        "from datetime import timedelta",
        INVOICE.replace(
            "    amount",
            "    django_simpletask3_retention = {20: timedelta(microseconds=1)}\n    amount",
        ),
    )

    project.manage("django-simpletask3-server", "--burst")
    said = project.manage("django-simpletask3-prune")

    assert "1 pruned" in said
    assert project.shell(KINDS) == []
    assert sound(project)


def test_other_databases_stay_as_they_are(server_project: Project) -> None:
    if connection.vendor == "postgresql":
        pytest.skip("PostgreSQL divides tables")
    server_project.models(INVOICE)
    server_project.manage("makemigrations", "app")
    server_project.manage(COMMAND, "app", "--template", "partition_events")
    server_project.manage("migrate", "-v0")
    server_project.shell(SAVE)

    server_project.manage("migrate", "app", "0001", "-v0")
    server_project.manage("migrate", "-v0")

    assert sound(server_project)
