"""A node fires schedules, and writes those of its code when it starts."""

from datetime import timedelta

import pytest

from django_simpletask3.db import clock
from django_simpletask3.schedules.tables import Schedule, ScheduleTick, new_change_mark
from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.testapp.models import Invoice
from tests.worker.conftest import Start


@pytest.mark.one_server
def test_a_node_fires_what_is_added_while_it_runs_once_for_each_tick(start_server: Start) -> None:
    start_server("--models", "testapp.Invoice", "--processes", "2")
    # First a task: the node runs when that has ended.
    first = Invoice.objects.create()
    eventually(lambda: Invoice.objects.succeeded().filter(pk=first.pk).exists())

    Schedule.objects.create(
        key="every second",
        target="testapp.Invoice",
        is_own=True,
        interval=timedelta(seconds=1),
        fields={"amount": 7},
        active_since=clock.utc_now("default"),
        change_mark=new_change_mark(),
    )

    ours = Invoice.objects.filter(amount=7)
    eventually(lambda: ours.filter(status=Status.SUCCESS).count() >= 3)
    Schedule.objects.update(enabled=False)
    keys = [str(pk) for pk in ours.values_list("pk", flat=True)]
    ticks = ScheduleTick.objects.filter(task_key__in=keys)
    assert ticks.count() == len(keys)
