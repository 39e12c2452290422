"""The status says how many tasks wait for others."""

from datetime import timedelta
from typing import Any

import pytest

from django_simpletask3.db import clock
from django_simpletask3.dependencies.tables import PrerequisiteGroup
from django_simpletask3.monitoring.blocked_tasks import dependency_health
from tests.dependencies.steps import dependent_on, group_of, step, succeed
from tests.steps import run_command

pytestmark = pytest.mark.django_db(transaction=True)


def test_it_counts_open_groups_and_the_tasks_that_wait(django_assert_num_queries: Any) -> None:
    first, second = step(), step()
    dependent_on(first)
    older, newer = dependent_on(second), dependent_on(second)
    succeed(first)
    hour_ago = clock.now("default") - timedelta(hours=1)
    PrerequisiteGroup.objects.filter(pk=group_of(older).pk).update(add_time=hour_ago)
    newer.cancel()

    with django_assert_num_queries(1):
        [health] = dependency_health("default")

    assert (health.database, health.open_groups, health.waiting) == ("default", 2, 1)
    assert health.longest_wait is not None
    assert 3600 <= health.longest_wait < 3660


def test_none_waits() -> None:
    [health] = dependency_health("default")

    assert (health.open_groups, health.waiting, health.longest_wait) == (0, 0, None)


def test_the_command_shows_them(redis_url: str) -> None:
    dependent_on(step())

    output, _ = run_command("django-simpletask3-status")

    lines = [line.split() for line in output.splitlines()]
    assert ["default", "1", "1"] in [line[:3] for line in lines]


def test_the_dashboard_shows_them(admin_client: Any, redis_url: str) -> None:
    dependent_on(step())

    page = admin_client.get("/admin/django_simpletask3/dashboard/")

    assert '<h2 id="st3-blocked">Blocked tasks</h2>' in page.content.decode()
    rows = [(row["name"], row["database"], row["waiting"]) for row in page.context["blocked"]]
    assert rows == [("other tasks", "default", "1")]
