"""Partitions by month on PostgreSQL lose no event, and keep events unique and append-only."""

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
result = task.pk
"""
PLACES = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SELECT tableoid::regclass::text, sequence FROM {table} ORDER BY id")
    result = cursor.fetchall()
"""
PARTITIONS = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits "
        "WHERE inhparent = 'app_invoiceevent'::regclass ORDER BY 1"
    )
    result = [name for (name,) in cursor.fetchall()]
"""
UNIQUE = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute(
        "SELECT indrelid::regclass::text, array_agg(pg_get_indexdef(indexrelid)) FROM pg_index "
        "JOIN pg_inherits ON inhrelid = indrelid WHERE indisunique "
        "AND inhparent = 'app_invoiceevent'::regclass GROUP BY 1"
    )
    result = {
        name: sorted(text.partition("btree ")[2] for text in texts)
        for name, texts in cursor.fetchall()
    }
"""
EACH = ["(id)", "(task_id, sequence)"]
# Write an event in a later month.
LATER = """
from django_simpletask3.testing import task_clock
with task_clock({moment!r}):
    Invoice.objects.get(pk={pk}).note("much later")
result = 1
"""
TWICE = """
last = InvoiceEvent.objects.filter(task={pk}).order_by("sequence").first()
last.pk, last.event_time = None, last.event_time.replace(year=last.event_time.year + {years})
last._state.adding = True
last.save()
"""
KINDS = "result = [e.reason for e in InvoiceEvent.objects.order_by('task_id', 'sequence')]"


@pytest.fixture
def partitioned(server_project: Project) -> tuple[Project, int]:
    """A project with a task of two events in a partitioned table, and the key of the task."""
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL partitions tables")
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


def is_sound(project: Project) -> bool:
    """Whether the audit, the checks and makemigrations find nothing."""
    project.manage("makemigrations", "--check", "--dry-run")
    assert "no issues" in project.manage("check", "--database", "default")
    return "nothing is wrong" in project.manage("django-simpletask3-audit")


def write_later_event(project: Project, pk: int, ahead: int) -> None:
    project.shell(LATER.format(pk=pk, moment=months(ahead, "%Y-%m-%dT%H:%M:%S+00:00", 15)))


def test_events_are_stored_by_month(partitioned: tuple[Project, int]) -> None:
    project, pk = partitioned
    write_later_event(project, pk, 1)
    write_later_event(project, pk, 5)

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
    assert is_sound(project)


def test_sequence_numbers_are_unique_within_and_across_months(
    partitioned: tuple[Project, int],
) -> None:
    project, pk = partitioned

    for years in (0, 1):
        output = project.run_python("-c", READY + TWICE.format(pk=pk, years=years))
        assert "IntegrityError" in output.text

    assert len(project.shell(KINDS)) == 2


def test_no_partition_can_be_changed(partitioned: tuple[Project, int]) -> None:
    project, pk = partitioned
    write_later_event(project, pk, 5)
    run = "from django.db import connection\nconnection.cursor().execute({!r})"

    for statement in ("UPDATE {} SET reason = 'x'", "DELETE FROM {}"):
        for place in ("app_invoiceevent", "app_invoiceevent_default"):
            output = project.run_python("-c", READY + run.format(statement.format(place)))
            assert "append-only" in output.text

    assert project.shell(KINDS) == ["", "looked at", "much later"]


def test_no_partition_can_be_truncated(partitioned: tuple[Project, int]) -> None:
    project, _ = partitioned
    run = "from django.db import connection\nconnection.cursor().execute({!r})"

    for place in project.shell(PARTITIONS):
        output = project.run_python("-c", READY + run.format(f"TRUNCATE {place}"))
        assert "append-only" in output.text

    project.manage(COMMAND, "app", "--template", "extend_partitions", "--until", months(3))
    project.manage("migrate", "-v0")
    output = project.run_python(
        "-c", READY + run.format(f"TRUNCATE app_invoiceevent_{months(3, '%Y_%m')}")
    )
    assert "append-only" in output.text
    assert is_sound(project)


@pytest.mark.parametrize(
    "change",
    [
        "DROP TRIGGER simpletask3_append_only_truncate ON app_invoiceevent_default",
        "ALTER TABLE app_invoiceevent_default DISABLE TRIGGER simpletask3_append_only_truncate",
        (
            "CREATE TABLE more PARTITION OF app_invoiceevent "
            "FOR VALUES FROM ('2050-01-01') TO ('2050-02-01')"
        ),
        "ALTER FUNCTION django_simpletask3_append_only() RESET search_path",
    ],
)
def test_a_partition_that_can_be_truncated_is_reported_and_migrate_restores(
    change: str, partitioned: tuple[Project, int]
) -> None:
    project, _ = partitioned
    project.shell(
        f"from django.db import connection\nconnection.cursor().execute({change!r})\nresult = 1"
    )
    assert "W201" in project.run_python("manage.py", "check", "--database", "default").text

    project.manage("migrate", "-v0")

    assert is_sound(project)


def test_a_trigger_disabled_on_one_partition_is_reported(partitioned: tuple[Project, int]) -> None:
    project, _ = partitioned
    off = "ALTER TABLE app_invoiceevent_default DISABLE TRIGGER simpletask3_append_only_change"
    project.shell(
        f"from django.db import connection\nconnection.cursor().execute({off!r})\nresult = 1"
    )

    assert "W201" in project.run_python("manage.py", "check", "--database", "default").text


def test_months_can_be_added_before_or_after_they_begin(partitioned: tuple[Project, int]) -> None:
    project, pk = partitioned
    write_later_event(project, pk, 4)

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
    assert is_sound(project)


def test_reversing_merges_the_partitions(partitioned: tuple[Project, int]) -> None:
    project, pk = partitioned
    write_later_event(project, pk, 1)
    write_later_event(project, pk, 5)

    project.manage("migrate", "app", "0002", "-v0")

    assert {place for place, _ in project.shell(PLACES.format(table="app_invoiceevent"))} == {
        "app_invoiceevent"
    }
    project.shell(SAVE)
    assert len(project.shell(KINDS)) == 6
    assert "no issues" in project.manage("check", "--database", "default")
    project.manage("migrate", "-v0")
    assert is_sound(project)


def test_a_partitioned_table_can_be_renamed(partitioned: tuple[Project, int]) -> None:
    project, pk = partitioned
    # When Django reverses a rename it queries content types, on which this app does not depend.
    project.edit("settings.py", '"django.contrib.auth", "django.contrib.contenttypes", ', "")
    project.models(INVOICE.replace("Invoice", "Bill"))
    project.manage("django-simpletask3-rename", "app.Invoice", "Bill")
    project.manage("migrate", "-v0")

    project.shell(SAVE.replace("Invoice", "Bill"))
    later_bill = LATER.replace("Invoice", "Bill")
    moment = months(1, "%Y-%m-%dT%H:%M:%S+00:00", 15)
    project.shell(later_bill.format(pk=pk, moment=moment))
    twice = TWICE.replace("Invoice", "Bill").format(pk=pk, years=1)
    assert "IntegrityError" in project.run_python("-c", READY + twice).text
    assert is_sound(project)

    project.manage("migrate", "app", "0002", "-v0")

    assert "no issues" in project.manage("check", "--database", "default")


def test_tasks_of_a_partitioned_table_run_and_are_pruned(partitioned: tuple[Project, int]) -> None:
    project, _ = partitioned
    project.models(
        "from datetime import timedelta",
        INVOICE.replace(
            "    amount",
            "    django_simpletask3_retention = {20: timedelta(microseconds=1)}\n    amount",
        ),
    )

    project.manage("django-simpletask3-server", "--burst")
    output = project.manage("django-simpletask3-prune")

    assert "1 pruned" in output
    assert project.shell(KINDS) == []
    assert is_sound(project)


def test_other_databases_do_not_change(server_project: Project) -> None:
    if connection.vendor == "postgresql":
        pytest.skip("PostgreSQL partitions tables")
    server_project.models(INVOICE)
    server_project.manage("makemigrations", "app")
    server_project.manage(COMMAND, "app", "--template", "partition_events")
    server_project.manage("migrate", "-v0")
    server_project.shell(SAVE)

    server_project.manage("migrate", "app", "0001", "-v0")
    server_project.manage("migrate", "-v0")

    assert is_sound(server_project)
