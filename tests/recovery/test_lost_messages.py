"""The cost of comparing the waiting rows with the queue."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_simpletask3.db import clock
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.recovery import service
from tests.testapp.models import Invoice

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def cost(redis_client: Any) -> Callable[[int], tuple[int, int]]:
    """The numbers of SQL queries and Redis commands of a pass, after enqueueing further rows."""

    def cost(number: int) -> tuple[int, int]:
        Invoice.objects.bulk_enqueue([{} for _ in range(number)])
        past = clock.now("default") - timedelta(hours=1)
        rows_of(Invoice, "default").update_managed(check_at=past)
        redis_client.config_resetstat()
        with CaptureQueriesContext(connection) as queries:
            service.push_overdue()
        stats = redis_client.info("commandstats")
        # Commands that a script runs inside Redis are not round trips.
        asked = ("cmdstat_evalsha", "cmdstat_eval", "cmdstat_lrange", "cmdstat_hgetall")
        return len(queries), sum(stats.get(name, {}).get("calls", 0) for name in asked)

    return cost


def test_a_pass_over_four_hundred_waiting_rows_costs_what_one_over_ten_costs(
    cost: Callable[[int], tuple[int, int]],
) -> None:
    cost(1)  # loads the scripts into Redis

    few = cost(9)

    assert cost(390) == few
