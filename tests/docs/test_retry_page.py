"""The tasks of the page about retries, run by real workers in a project of their own."""

import re
from typing import Any

import pytest

from tests.docs.test_how_to import how_to
from tests.projects import Project, sqlite

pytestmark = pytest.mark.once

PAGE = how_to("retry-tasks")
#: A server for mail, and a bank, that do what the file ``answer`` says.
WORLD = """
import json, smtplib
from pathlib import Path

def answer():
    return json.loads(Path("answer").read_text())

class Backend:
    def __init__(self, **options):
        pass

    def send_messages(self, messages):
        error = answer()
        if error:
            raise eval(error)
        return len(messages)

class TooManyRequests(Exception):
    seconds = 600

def status_of(order):
    if answer() == "busy":
        raise TooManyRequests
    return answer()
"""
STATE = """
task = {model}.objects.get()
event = task.events.last()
wait = (task.run_after - event.event_time).total_seconds() if task.status == 0 else None
result = [event.kind, event.reason, wait, task.error_data and task.error_data["message"]]
"""


def models_of_page() -> str:
    mail, check = PAGE.block("python", "class InvoiceMail"), PAGE.block("python", "PaymentCheck")
    upload = PAGE.block("python", "class Upload")
    body = "\n    def do_task(self):\n        error = OSError()\n        raise error\n"
    return "\n".join([mail, check, upload + body])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Project:
    folder = tmp_path_factory.mktemp("retry-page")
    project = Project(folder, sqlite(folder), redis_url, "retry-page")
    project.write("app/backoff.py", PAGE.block("python", "def as_the_server_asks"))
    project.write("app/bank.py", WORLD)
    project.write("app/models.py", models_of_page())
    settings = (folder / "settings.py").read_text(encoding="utf-8")
    project.write("settings.py", settings + 'EMAIL_BACKEND = "app.bank.Backend"\n')
    project.manage("makemigrations", "app", "-v0")
    project.manage("migrate", "-v0")
    assert "no issues" in project.manage("check")
    return project


class Task:
    """The only task of a model, in a project."""

    def __init__(self, project: Project, model: str, columns: str = "") -> None:
        self.project, self.model = project, model
        project.shell(f"result = {model}.objects.create({columns}).pk")

    def run(self, answer: str) -> list[Any]:
        """Let a worker run it once; its last event, reason, seconds to wait, and error."""
        self.project.write("answer", answer)
        self.project.shell(f"result = {self.model}.objects.update(run_after=None)")
        self.project.manage("django-simpletask3-server", "--burst")
        return list(self.project.shell(STATE.format(model=self.model)))


def test_a_mail_is_tried_again_after_errors_of_smtp_only(project: Project) -> None:
    mail = Task(project, "InvoiceMail", "recipient='ada@example.com', number=7")

    first = mail.run("\"smtplib.SMTPServerDisconnected('gone')\"")
    second = mail.run("\"ConnectionRefusedError('refused')\"")
    last = mail.run('"smtplib.SMTPRecipientsRefused({})"')
    project.shell("InvoiceMail.objects.get().reset(); result = 0")
    sent = mail.run("null")

    assert (first[0], first[3]) == ("retry", "gone")
    assert 4 < first[2] <= 10
    assert (second[0], second[3]) == ("retry", "refused")
    assert 12 < second[2] <= 20
    assert (last[0], last[2]) == ("fail", None)
    assert sent[0] == "ack"


def test_a_task_function_says_what_follows(project: Project) -> None:
    check = Task(project, "PaymentCheck")

    retry, snooze, cancel = (check.run(f'"{word}"') for word in ("busy", "open", "withdrawn"))

    assert retry[:2] == ["retry", "the bank asks for a pause"]
    assert 590 < retry[2] <= 600
    assert snooze[:2] == ["snooze", "not paid yet"]
    assert 3590 < snooze[2] <= 3600
    assert cancel == ["cancel", "the order was withdrawn", None, None]


def test_a_function_is_a_backoff(project: Project) -> None:
    upload = Task(project, "Upload")

    delays = [upload.run("null")[2] for _ in range(2)]

    assert [round(delay, -1) for delay in delays] == [60, 120]


def test_the_defaults_are_those_of_the_page() -> None:
    from django_simpletask3.models import SimpleTask

    attributes = {row[0].strip("`"): row[1].strip("`") for row in PAGE.rows if len(row) == 3}

    for name in re.findall(r"django_simpletask3_\w+", " ".join(attributes)):
        default = getattr(SimpleTask, name)
        assert attributes[name] in (repr(default), "Exponential()"), name
