"""A table that had rows before its model became a task model."""

import signal
import subprocess

import pytest

from tests.eventually import eventually
from tests.projects import HEAD, Project, environment

pytestmark = pytest.mark.thorough

CREATE_MANY = """
from django.db import models
models.QuerySet(Report).bulk_create([Report(title=str(n)) for n in range(20_000)])
result = 1
"""
COUNT_BACKFILLED = """
backfilled = Report.objects.filter(sequence=2).count()
result = [ReportEvent.objects.count(), backfilled, Report.objects.count()]
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
CREATE_TWO = """
result = [Report.objects.create(title=title).pk for title in ("a", "b")]
"""
STATES = """
result = {r.title: [int(r.status), [e.kind for e in r.events.all()]] for r in Report.objects.all()}
"""
ROWS = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SELECT title FROM app_report ORDER BY id")
    result = [title for (title,) in cursor.fetchall()]
"""


@pytest.fixture
def project(server_project: Project) -> Project:
    """A project with two reports, whose model has just become a task model."""
    server_project.write("app/models.py", HEAD + PLAIN)
    server_project.manage("makemigrations", "app")
    server_project.manage("migrate", "-v0")
    server_project.shell(CREATE_TWO)
    server_project.write("app/models.py", HEAD + TASK)
    server_project.manage("makemigrations", "app")
    return server_project


def test_old_rows_get_events_and_are_not_run(project: Project) -> None:
    output = project.manage("django-simpletask3-migrations", "app")
    assert "0003_backfill_events.py: Report" in output
    assert "0004_protect_events.py: ReportEvent" in output
    project.manage("migrate", "-v0")
    project.shell('Report(title="c").save(); result = 1')

    project.manage("django-simpletask3-server", "--burst")

    old = [40, ["enqueue", "cancel"]]
    new = [20, ["enqueue", "start", "ack"]]
    assert project.shell(STATES) == {"a": old, "b": old, "c": new}
    assert "nothing is wrong" in project.manage("django-simpletask3-audit")
    project.manage("makemigrations", "--check", "--dry-run")
    project.manage("check", "--database", "default")


def test_old_rows_run_if_the_migration_makes_them_pending(project: Project) -> None:
    project.manage("django-simpletask3-migrations", "app", "--template", "backfill_events")
    path = project.migrations()[-1]
    path.write_text(path.read_text().replace("Status.CANCELED)", "Status.PENDING)"))
    project.manage("migrate", "-v0")

    project.manage("django-simpletask3-server", "--burst")

    status, kinds = project.shell(STATES)["a"]
    assert (status, kinds[0], kinds[-2:]) == (20, "enqueue", ["start", "ack"])


def test_the_migration_can_be_reversed_until_there_are_other_events(project: Project) -> None:
    project.manage("django-simpletask3-migrations", "app")
    project.manage("migrate", "-v0")

    project.manage("migrate", "app", "0002", "-v0")
    project.manage("migrate", "app", "0001", "-v0")
    assert project.shell(ROWS) == ["a", "b"]
    project.manage("migrate", "-v0")
    assert "nothing is wrong" in project.manage("django-simpletask3-audit")

    project.shell('Report.objects.get(title="a").note("read"); result = 1')
    project.manage("migrate", "app", "0002", "-v0")
    assert "would drop the history of app.Report" in project.manage_fails("migrate", "app", "0001")
    project.manage("migrate", "-v0")

    assert project.shell(STATES) == {
        "a": [40, ["enqueue", "cancel", "note"]],
        "b": [40, ["enqueue", "cancel"]],
    }
    assert "nothing is wrong" in project.manage("django-simpletask3-audit")


def test_a_killed_migration_resumes(project: Project) -> None:
    project.manage("migrate", "-v0")
    project.shell(CREATE_MANY)
    project.manage("django-simpletask3-migrations", "app", "--template", "backfill_events")

    migrating = subprocess.Popen(
        [project.python, "manage.py", "migrate", "-v0"],
        cwd=project.folder,
        env=environment(project.python),
        stderr=subprocess.DEVNULL,
    )
    eventually(lambda: project.shell(COUNT_BACKFILLED)[0], timeout=60, interval=0)
    migrating.kill()
    assert migrating.wait() == -signal.SIGKILL

    events, backfilled, rows = project.shell(COUNT_BACKFILLED)
    assert events == 2 * backfilled
    assert 0 < backfilled < rows
    project.manage("migrate", "-v0")
    assert project.shell(COUNT_BACKFILLED) == [2 * rows, rows, rows]
    assert "nothing is wrong" in project.manage("django-simpletask3-audit")


def test_check_reports_rows_that_workers_would_run(project: Project) -> None:
    output = project.run_python("manage.py", "check", "--database", "default").text

    assert "django_simpletask3.W204" in output
    assert "django-simpletask3-migrations app" in output
