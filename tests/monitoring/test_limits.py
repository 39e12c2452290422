"""The status says how full limits are, and who waits for them."""

from datetime import timedelta
from typing import Any

import pytest

from django_simpletask3.db import clock
from django_simpletask3.limits import Limit
from django_simpletask3.limits.tables import LimitWaiter
from django_simpletask3.monitoring import blocked_tasks as module
from django_simpletask3.monitoring.blocked_tasks import limit_health
from django_simpletask3.monitoring.health_types import LimitHealth
from tests.limits.steps import errands, start_all
from tests.steps import create_task, run_command
from tests.testapp.models import Errand, Letter

pytestmark = pytest.mark.django_db(transaction=True)


#: The limits of this module; functions of other tests, and of the docs, have limits, too.
OWN = {"testapp.Errand", "letters", "new"}


def health() -> list[LimitHealth]:
    return [limit for limit in limit_health("default") if limit.limit in OWN]


def test_it_counts_places_and_those_that_wait(django_assert_num_queries: Any) -> None:
    start_all([*errands(4, "a"), *errands(1, "b")])
    hour_ago = clock.now("default") - timedelta(hours=1)
    LimitWaiter.objects.filter(task_key=str(Errand.objects.blocked()[0].pk)).update(
        block_time=hour_ago
    )
    start_all(errands(1, "a"))

    with django_assert_num_queries(1):
        [limit] = health()

    assert (limit.limit, limit.running) == ("testapp.Errand", 2)
    assert (limit.taken, limit.waiting) == (3, 3)
    assert limit.longest_wait is not None
    assert 3600 <= limit.longest_wait < 3660


def test_a_task_waits_since_it_was_blocked_and_not_since_it_was_enqueued() -> None:
    start_all(errands(3, add_time=clock.now("default") - timedelta(hours=1)))

    [limit] = health()

    assert limit.longest_wait is not None
    assert limit.longest_wait < 60


def test_many_rows_of_one_limit_hide_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROWS", 2)
    monkeypatch.setattr(Letter, "django_simpletask3_limit", Limit(1, name="letters"))
    start_all([*errands(5, "a"), *errands(1, "b")])
    start_all([create_task(Letter), create_task(Letter)])

    errand_limit, letters = sorted(health(), key=lambda h: h.running, reverse=True)

    assert (errand_limit.taken, errand_limit.waiting) == (2, 2)  # at most
    assert (letters.limit, letters.taken, letters.waiting) == ("letters", 1, 1)


def test_a_limit_that_was_removed_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    start_all(errands(3))
    monkeypatch.setattr(Errand, "django_simpletask3_limit", Limit(1, name="new"))

    new, old = health()

    assert (new.limit, new.taken, new.waiting) == ("new", 0, 0)
    assert (old.limit, old.running, old.taken, old.waiting) == ("testapp.Errand", None, 2, 1)


def test_the_command_shows_them(redis_url: str) -> None:
    start_all(errands(3))

    output, _ = run_command("django-simpletask3-status")

    lines = [line.split() for line in output.splitlines()]
    assert ["testapp.Errand", "default", "2", "2", "1"] in [line[:5] for line in lines]


def test_the_dashboard_shows_them(admin_client: Any, redis_url: str) -> None:
    start_all(errands(3))

    page = admin_client.get("/admin/django_simpletask3/dashboard/")

    assert '<h2 id="st3-blocked">Blocked tasks</h2>' in page.content.decode()
    [row] = page.context["blocked"]
    assert (row["name"], row["database"]) == ("a place at testapp.Errand", "default")
    assert (row["taken"], row["waiting"]) == ("2 taken, 2 per key", "1")
