"""A table that had rows before its model became a task."""

import signal
import subprocess

import pytest

from tests.eventually import eventually
from tests.projects import HEAD, Project, environment

pytestmark = pytest.mark.thorough

MANY = """
from django.db import models
models.QuerySet(Report).bulk_create([Report(title=str(n)) for n in range(20_000)])
told = 1
"""
BEGUN = """
begun = Report.objects.filter(sequence=2).count()
told = [ReportEvent.objects.count(), begun, Report.objects.count()]
"""
PLAIN = """
class Report(models.Model):
    title = models.CharField(max_length=64)
"""
TASK = """
class Report(SimpleTask):
    title = models.CharField(max_length=64)

    def do_task(self):
        return self.title.upper()
"""
FILL = """
told = [Report.objects.create(title=title).pk for title in ("a", "b")]
"""
STATES = """
told = {r.title: [int(r.status), [e.kind for e in r.events.all()]] for r in Report.objects.all()}
"""
ROWS = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SELECT title FROM app_report ORDER BY id")
    told = [title for (title,) in cursor.fetchall()]
"""


@pytest.fixture
def grown(server_project: Project) -> Project:
    """A project with two reports, whose model has just become a task."""
    server_project.write("app/models.py", HEAD + PLAIN)
    server_project.manage("makemigrations", "app")
    server_project.manage("migrate", "-v0")
    server_project.shell(FILL)
    server_project.write("app/models.py", HEAD + TASK)
    server_project.manage("makemigrations", "app")
    return server_project


def test_old_rows_get_a_history_and_are_not_run(grown: Project) -> None:
    said = grown.manage("django-simpletask3-migrations", "app")
    assert "0003_backfill_events.py: Report" in said
    assert "0004_protect_events.py: ReportEvent" in said
    grown.manage("migrate", "-v0")
    grown.shell('Report(title="c").save(); told = 1')

    grown.manage("django-simpletask3-server", "--burst")

    old = [40, ["enqueue", "cancel"]]
    new = [20, ["enqueue", "start", "ack"]]
    assert grown.shell(STATES) == {"a": old, "b": old, "c": new}
    assert "nothing is wrong" in grown.manage("django-simpletask3-audit")
    grown.manage("makemigrations", "--check", "--dry-run")
    grown.manage("check", "--database", "default")


def test_old_rows_may_be_run_on_purpose(grown: Project) -> None:
    grown.manage("django-simpletask3-migrations", "app", "--template", "backfill_events")
    path = grown.migrations()[-1]
    path.write_text(path.read_text().replace("Status.CANCELED)", "Status.PENDING)"))
    grown.manage("migrate", "-v0")

    grown.manage("django-simpletask3-server", "--burst")

    status, kinds = grown.shell(STATES)["a"]
    assert (status, kinds[0], kinds[-2:]) == (20, "enqueue", ["start", "ack"])


def test_the_way_back_is_open_until_something_has_happened(grown: Project) -> None:
    grown.manage("django-simpletask3-migrations", "app")
    grown.manage("migrate", "-v0")

    grown.manage("migrate", "app", "0002", "-v0")
    grown.manage("migrate", "app", "0001", "-v0")
    assert grown.shell(ROWS) == ["a", "b"]
    grown.manage("migrate", "-v0")
    assert "nothing is wrong" in grown.manage("django-simpletask3-audit")

    grown.shell('Report.objects.get(title="a").note("read"); told = 1')
    grown.manage("migrate", "app", "0002", "-v0")
    assert "would drop the history of app.Report" in grown.stopped("migrate", "app", "0001")
    grown.manage("migrate", "-v0")

    assert grown.shell(STATES) == {
        "a": [40, ["enqueue", "cancel", "note"]],
        "b": [40, ["enqueue", "cancel"]],
    }
    assert "nothing is wrong" in grown.manage("django-simpletask3-audit")


def test_a_migration_that_is_killed_goes_on_where_it_was(grown: Project) -> None:
    grown.manage("migrate", "-v0")
    grown.shell(MANY)
    grown.manage("django-simpletask3-migrations", "app", "--template", "backfill_events")

    migrating = subprocess.Popen(
        [grown.python, "manage.py", "migrate", "-v0"],
        cwd=grown.folder,
        env=environment(grown.python),
        stderr=subprocess.DEVNULL,
    )
    eventually(lambda: grown.shell(BEGUN)[0], timeout=60, interval=0)
    migrating.kill()
    assert migrating.wait() == -signal.SIGKILL

    events, begun, rows = grown.shell(BEGUN)
    assert events == 2 * begun
    assert 0 < begun < rows
    grown.manage("migrate", "-v0")
    assert grown.shell(BEGUN) == [2 * rows, rows, rows]
    assert "nothing is wrong" in grown.manage("django-simpletask3-audit")


def test_check_tells_of_rows_that_would_be_run(grown: Project) -> None:
    said = grown.try_to("manage.py", "check", "--database", "default").text

    assert "django_simpletask3.W204" in said
    assert "django-simpletask3-migrations app" in said
