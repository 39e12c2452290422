"""Upgrade a project that ran on the real 0.1.3, with its rows, results and queue."""

import signal
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from tests.eventually import eventually
from tests.projects import HEAD, Project, environment

pytestmark = pytest.mark.thorough

MODEL = """
class Invoice(SimpleTask):
    amount = models.IntegerField(default=0)

    def do_task(self, **kwargs):
        if self.amount < 0:
            raise ValueError("金额 %s" % self.amount)
        return RESULTS[self.amount % len(RESULTS)]


RESULTS = [{"paid": 7, "to": "张"}, "OK", None, [1, 2.5, None, "ü"], "x" * 2000, True]
"""
OLD_HEAD = HEAD.replace("SimpleTask, TaskEvent, task_foreign_key", "SimpleTask")
DONE = "result = Invoice.objects.filter(status__in=[20, 30]).count()"
SAVE = """
for amount in {amounts}:
    Invoice(amount=amount).save()
result = 1
"""
# A row whose worker was killed, and one without a status.
WRITE = """
from django.utils import timezone
Invoice.objects.filter(amount=101).update(status=10, start_time=timezone.now())
Invoice.objects.filter(amount=102).update(status=None, add_time=None)
result = 1
"""
COLUMNS = """
names = ["id", "amount", "status", "success", "result_data", "error_data", "add_time", "start_time",
         "done_time", "result_time"]
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SELECT %s FROM app_invoice ORDER BY id" % ", ".join(names))
    result = [dict(zip(names, row)) for row in cursor.fetchall()]
"""
VALUES = "result = {t.amount: [t.status, t.result] for t in Invoice.objects.exclude(status=30)}"
NEW_VALUES = """
result = {t.amount: [t.status, t.result_data] for t in Invoice.objects.exclude(status=30)}
"""
ERRORS = "result = [t.error_data for t in Invoice.objects.filter(status=30)]"
KINDS = """
result = {t.amount: [e.kind for e in t.events.all()] for t in Invoice.objects.all()}
"""
RUN_BY_01 = range(-2, 7)
PENDING = (100, 101, 102)


@pytest.fixture
def old_project(server_project: Project, python_with_01: str) -> Project:
    """A project on 0.1.3: nine rows are done, one is pending, one running, one has no status."""
    old = replace(server_project, python=python_with_01)
    old.write("app/models.py", OLD_HEAD + MODEL)
    old.manage("makemigrations", "app")
    old.manage("migrate", "-v0")
    old.shell(SAVE.format(amounts=[*RUN_BY_01]))
    server = subprocess.Popen(
        [old.python, "manage.py", "django-simpletask3-server"],
        cwd=old.folder,
        env=environment(old.python),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: old.shell(DONE) == len(RUN_BY_01), timeout=60)
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
    old.shell(SAVE.format(amounts=list(PENDING)))
    old.shell(WRITE)
    return old


def upgrade(project: Project) -> None:
    """Run the steps of the how-to."""
    project.manage("django-simpletask3-migrations", "app", "--replace-safe-fields")
    project.manage("makemigrations", "app")
    project.manage("django-simpletask3-migrations", "app")
    project.manage("migrate", "-v0")


def test_an_upgrade_can_be_reversed_and_repeated_and_the_queue_goes_on(
    server_project: Project, old_project: Project
) -> None:
    before, results = comparable(old_project.shell(COLUMNS)), old_project.shell(VALUES)

    assert "--replace-safe-fields" in server_project.manage_fails("django-simpletask3-migrations")
    upgrade(server_project)
    assert_upgraded(server_project, results)

    server_project.manage("migrate", "app", "0002", "-v0")
    server_project.manage("migrate", "app", "0001", "-v0")
    assert comparable(server_project.shell(COLUMNS)) == before
    assert old_project.shell(VALUES) == {**results, "102": [0, None]}

    server_project.manage("migrate", "-v0")
    assert_upgraded(server_project, results)

    server_project.manage("django-simpletask3-server", "--burst")

    kinds = server_project.shell(KINDS)
    assert kinds["100"] == ["enqueue", "start", "ack"]
    assert kinds["101"] == ["enqueue", "start", "recover", "start", "ack"]
    assert kinds["102"] == ["enqueue", "start", "ack"]
    assert server_project.shell(NEW_VALUES)["100"] == [20, "x" * 2000]
    assert "nothing is wrong" in server_project.manage("django-simpletask3-audit")


def assert_upgraded(project: Project, results: Any) -> None:
    assert "nothing is wrong" in project.manage("django-simpletask3-audit")
    project.manage("makemigrations", "--check", "--dry-run")
    assert "No migrations are missing" in project.manage("django-simpletask3-migrations")
    assert "django_safe_fields" not in project.migrations()[0].read_text()
    assert project.shell(NEW_VALUES) == {**results, "102": [0, None]}
    assert {(e["type"], e["code"]) for e in project.shell(ERRORS)} == {("BizError", 226)}
    kinds = project.shell(KINDS)
    assert {result[-1] for amount, result in kinds.items() if int(amount) < 0} == {"fail"}
    assert kinds["6"] == ["enqueue", "start", "ack"]
    assert [kinds[str(amount)][-1] for amount in PENDING] == ["enqueue", "start", "enqueue"]


def comparable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The values that reversing restores; a NULL status becomes 0, and times may differ."""
    times = ("add_time", "start_time", "done_time", "result_time")
    return [
        {
            **{name: value for name, value in row.items() if name not in times},
            "status": row["status"] or 0,
            "success": None if row["success"] is None else bool(row["success"]),
        }
        for row in rows
    ]
