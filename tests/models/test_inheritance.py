"""Shapes of inheritance that Django allows: a task may have parents that are no tasks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from tests.projects import Project, own_database

DOCUMENT = """
class Document(models.Model):
    title = models.CharField(max_length=32, default="")


"""
TASK = """
class Task(%s):
    def do_task(self):
        self.title = "done"
        return "OK"


class Child(Task):
    pages = models.IntegerField(default=0)


class Proxy(Task):
    class Meta:
        proxy = True
"""
RUN = """
from django_simpletask3.execution import finish, perform, start
from django_simpletask3.queue import get_queue

result = []
for model in (Task, Child, Proxy):
    task = model.objects.enqueue(title="new")
    task.note("seen")
    channel = model.get_event_channel()
    messages = get_queue().claim(channel, worker="w", limit=1, lease=60)
    runs, _ = start.start(model, messages, worker="w", lease=60)
    for run in runs:
        perform.perform(run)
    finish.finish(runs)
    row = model.objects.get(pk=task.pk)
    events = list(row.events.all())
    row.delete()
    result.append([row.title, [str(event.kind) for event in events], model.objects.count()])
"""
DONE = ["done", ["enqueue", "note", "start", "ack"], 0]


@pytest.fixture
def project(tmp_path: Path, redis_url: str, transactional_db: None) -> Iterator[Project]:
    """An empty project on the database of this run, in its own tables."""
    prefix = f"{settings.DJANGO_SIMPLETASK3_SIMQ_PREFIX}-inheritance"
    with own_database(tmp_path) as database:
        yield Project(tmp_path, database, redis_url, prefix)


@pytest.mark.parametrize("bases", ["Document, SimpleTask", "SimpleTask, Document"])
@pytest.mark.thorough
def test_a_task_may_have_a_parent_that_is_no_task(project: Project, bases: str) -> None:
    project.models(DOCUMENT, TASK % bases)
    project.manage("makemigrations", "app")
    project.manage("migrate", "-v", "0")

    assert project.shell(RUN) == [DONE] * 3


@pytest.mark.parametrize("column", ["sequence", "priority", "worker"])
def test_a_parent_that_takes_a_column_of_tasks_is_named(project: Project, column: str) -> None:
    kinds = {
        "sequence": "PositiveIntegerField(default=0)",
        "priority": "SmallIntegerField(default=0)",
        "worker": "CharField(max_length=255, default='')",
    }
    parent = f"class Parent(models.Model):\n    {column} = models.{kinds[column]}\n"
    project.models(parent, TASK % "Parent, SimpleTask")

    output = project.run_python("manage.py", "check").text

    assert f"The column {column} of SimpleTask is in the table of app.Parent" in output
    assert "Traceback" not in output
