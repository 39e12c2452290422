"""The audit compares the tasks that wait for limits, or run under them, with the limits."""

import pytest

from django_simpletask3.audit.check import Finding, audit
from django_simpletask3.limits.tables import LimitPlace, LimitWaiter
from tests.limits.steps import errands, start, start_all, statuses
from tests.steps import create_task, stream_of
from tests.testapp.models import Errand

pytestmark = pytest.mark.django_db(transaction=True)


def findings(*, repair: bool = False) -> list[Finding]:
    return list(audit(Errand, "default", repair=repair))


def test_limits_as_they_are_left_by_the_package_are_right() -> None:
    tasks = errands(4)
    start_all(tasks)
    create_task(Errand).block("waits for ada")

    assert findings() == []


def test_a_task_that_waits_for_a_limit_that_does_not_know_it_is_unblocked() -> None:
    tasks = errands(3)
    start_all(tasks)
    LimitWaiter.objects.all().delete()

    [found] = findings(repair=True)

    assert (found.problem, found.task, found.repaired) == ("line", str(tasks[2].pk), True)
    assert statuses([tasks[2]]) == ["PENDING"]
    assert stream_of(tasks[2])[-1].reason == "orphaned"
    assert start(tasks[2]) is None
    assert findings() == []


def test_a_task_that_runs_without_a_place_is_found() -> None:
    tasks = errands(2)
    start_all(tasks)
    LimitPlace.objects.filter(task_key=str(tasks[1].pk)).delete()

    [found] = findings(repair=True)

    assert (found.problem, found.task, found.repaired) == ("place", str(tasks[1].pk), False)
