"""The page about expiry: its model, its tasks, its receiver."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import models
from django.test.utils import isolate_apps

from django_simpletask3 import signals
from django_simpletask3.ledger.task_row import has_expiry
from django_simpletask3.models import ExpiringTask
from django_simpletask3.recovery.expired_tasks import expire_tasks
from django_simpletask3.states import Status
from tests.docs.test_how_to import defined_by, how_to
from tests.steps import PAST, kinds, row_of, status_of
from tests.testapp.models import FlashOffer

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = how_to("let-tasks-expire")


def run_block(containing: str, **names: Any) -> dict[str, Any]:
    """What a block of the page defines; its LoginCode is a FlashOffer, without the columns."""
    code = PAGE.block("python", containing)
    code = re.sub(r'"?(email|code)"?[=:] ?"[^"]*",? ?', "", code)
    ours = "from tests.testapp.models import FlashOffer as LoginCode"
    return defined_by(code.replace("from app.models import LoginCode", ours), **names)


def seconds_left(task: Any) -> float:
    row = row_of(task)
    return float((row.expires_at - row.events.first().event_time).total_seconds())


@isolate_apps("tests.testapp")
def test_the_model_expires_after_ten_minutes() -> None:
    code = PAGE.block("python", "class LoginCode(ExpiringTask)")
    code += '\n    class Meta:\n        app_label = "testapp"\n'

    model: type[models.Model] = defined_by(code, __name__=__name__)["LoginCode"]

    assert issubclass(model, ExpiringTask)
    assert has_expiry(model)
    assert model.django_simpletask3_expires == timedelta(minutes=10)
    assert {"email", "code", "expires_at"} <= {field.name for field in model._meta.fields}


def test_a_task_expires_as_its_class_or_its_call_says(redis_url: str) -> None:
    task = run_block("task = LoginCode")["task"]
    found = run_block("expires=90")

    assert 58 <= seconds_left(task) < 61
    assert 88 <= seconds_left(found["urgent"]) < 91
    assert [3598 <= seconds_left(task) < 3601 for task in found["many"]] == [True, True]


@pytest.fixture
def expired(redis_url: str) -> Any:
    task = FlashOffer.objects.enqueue(expires=PAST)
    expire_tasks()
    task.refresh_from_db()
    return task


def test_the_stream_of_an_expired_task_ends_with_expire(
    expired: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run_block("for event in task.events", task=expired)

    time = expired.expires_at.isoformat()
    assert capsys.readouterr().out.splitlines()[-1].startswith("2 expire ")
    assert expired.events.last().data["expires_at"] == time


def test_a_receiver_learns_that_a_task_came_too_late(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    task = FlashOffer.objects.enqueue(expires=PAST)
    receiver = run_block("def say_sorry")["say_sorry"]

    expire_tasks()

    signals.task_expired.disconnect(receiver, sender=FlashOffer)
    printed = f"{task.pk} came too late: it expired at {task.expires_at.isoformat()}\n"
    assert capsys.readouterr().out == printed


def test_a_reset_runs_it_all_the_same(expired: Any) -> None:
    run_block("task.reset", task=expired)

    assert status_of(expired) is Status.PENDING
    assert kinds(expired) == ["enqueue", "expire", "reset", "reset"]
    assert expired.expires_at > expired.add_time


def test_a_reset_runs_many_all_the_same(expired: Any) -> None:
    run_block("canceled().reset")

    row = row_of(expired)
    assert row.status is Status.PENDING
    assert row.expires_at > row.add_time
