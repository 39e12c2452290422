"""Run by contexts/test_inherited.py, in the project of this folder."""

from typing import Any

import pytest
from auditlog.models import LogEntry as AuditlogEntry
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User

from django_simpletask3.context import task_context
from django_simpletask3.ledger.task_row import task_reference
from django_simpletask3.testing import run_tasks
from tests.execution.auditing_packages.models import Account, Booking

pytestmark = pytest.mark.django_db(transaction=True)


def run(task: Any) -> None:
    assert run_tasks(task, raise_errors=True).succeeded == [task]


@pytest.fixture
def user() -> User:
    return User.objects.create(username="ada")


@pytest.fixture
def task(user: User) -> Booking:
    with task_context(actor=user):
        return Booking.objects.create(account=Account.objects.create())


def test_auditlog_notes_the_user_who_had_the_task_enqueued(task: Booking, user: User) -> None:
    run(task)

    entry = AuditlogEntry.objects.filter(action=AuditlogEntry.Action.UPDATE).get()
    assert entry.actor == user


def test_the_admins_log_can_name_the_user(task: Booking, user: User) -> None:
    run(task)

    assert LogEntry.objects.get().user == user


def test_after_the_task_function_there_is_no_actor(task: Booking) -> None:
    run(task)
    task.account.save()
    Account.objects.update(balance=7)
    account = Account.objects.get()
    account.balance = 8
    account.save()

    assert AuditlogEntry.objects.latest("timestamp", "id").actor is None


def test_a_task_without_an_enqueue_event_runs_all_the_same() -> None:
    task = Booking.objects.create(account=Account.objects.create())

    run(task)

    entry = AuditlogEntry.objects.filter(action=AuditlogEntry.Action.UPDATE).get()
    assert (entry.actor, task.result_data) == (None, "None")


@pytest.mark.skipif(not apps.is_installed("pghistory"), reason="of PostgreSQL")
def test_pghistory_notes_user_and_task(task: Booking, user: User) -> None:
    from pghistory.models import Events

    run(task)

    last = Events.objects.tracks(task.account).order_by("pgh_created_at").last()
    assert last is not None
    assert last.pgh_context == {"user": str(user.pk), "actor": "ada", "task": task_reference(task)}
