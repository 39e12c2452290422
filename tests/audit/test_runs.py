"""Each audit leaves a record of what it has read and found."""

import socket
from typing import Any

import pytest
from django.db import DatabaseError, connection

from django_simpletask3.audit import runs
from django_simpletask3.models import AuditRun
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.states import Status
from tests.steps import bring_to, create_task, run_command
from tests.testapp.models import Invoice, Letter

pytestmark = pytest.mark.django_db


def audit(*words: str) -> int:
    return run_command("django-simpletask3-audit", "--model", "testapp.Invoice", *words)[1]


def tamper(task: Any) -> None:
    rows_of(type(task), "default").filter(pk=task.pk).update_managed(attempt=9)


def test_an_audit_records_what_it_has_read_by_whom_and_where() -> None:
    for status in (Status.PENDING, Status.SUCCESS):
        bring_to(create_task(Invoice), status)
    create_task(Letter)

    assert audit() == 0

    run = AuditRun.objects.get()
    counts = {"tasks": 2, "events": 4, "findings": 0, "repaired": 0}
    assert run.tables == [{"model": "testapp.Invoice", "database": "default", **counts}]
    assert {name: getattr(run, name) for name in counts} == counts
    assert (run.host, bool(run.actor), run.since) == (socket.gethostname(), True, None)
    assert run.end_time >= run.begin_time


def test_an_audit_keeps_its_first_findings_and_the_time_it_began_with(monkeypatch: Any) -> None:
    monkeypatch.setattr(runs, "MAX_FOUND", 2)
    for _ in range(3):
        tamper(create_task(Invoice))

    assert audit("--since", "2020-01-01T00:00:00Z") == 1

    run = AuditRun.objects.get()
    assert (run.findings, run.repaired, len(run.found)) == (3, 0, 2)
    assert run.since.year == 2020
    assert {found["problem"] for found in run.found} == {"row"}


def test_a_repair_is_recorded() -> None:
    tamper(create_task(Invoice))

    audit("--repair")

    run = AuditRun.objects.get()
    assert (run.findings, run.repaired, run.found[0]["repaired"]) == (1, 1, True)


def test_an_audit_that_is_ended_before_its_end_has_no_end() -> None:
    with pytest.raises(KeyboardInterrupt), runs.recorded_audit(None, "maria"):
        raise KeyboardInterrupt

    run = AuditRun.objects.get()
    assert (run.actor, run.end_time, run.tables) == ("maria", None, None)


def refuse_the_record(execute: Any, sql: str, *rest: Any) -> Any:
    if "auditrun" in sql:
        raise DatabaseError("read only")
    return execute(sql, *rest)


def test_an_audit_that_cannot_be_recorded_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    tamper(create_task(Invoice))
    with connection.execute_wrapper(refuse_the_record):
        found = audit()

    assert found == 1
    assert "audit_not_recorded" in caplog.text
    assert not AuditRun.objects.exists()


def test_the_newest_full_audit_is_found_behind_others() -> None:
    audit()
    for _ in range(3):
        audit("--since", "2020-01-01")

    full = runs.last_full_audit()

    assert full is not None
    assert full.pk == min(run.pk for run in runs.newest_audits(10))
