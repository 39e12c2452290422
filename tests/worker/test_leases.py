"""Renewing the leases of what a process holds, while something of it is sick."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.utils import timezone

from django_simpletask3.db import clock
from django_simpletask3.limits import Limit
from django_simpletask3.limits.places import renew_places
from django_simpletask3.limits.tables import LimitPlace
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.worker.leases import Leases
from django_simpletask3.worker.pipeline import ModelPipeline
from tests.eventually import eventually
from tests.limits.steps import errands, start_all
from tests.redis_servers import RedisServer
from tests.testapp.models import Elsewhere, Errand, Invoice, Ledger
from tests.worker.steps import WORKER, start_waiting

SHORT = 60.0  # a beat makes it five minutes


@pytest.fixture(autouse=True)
def servers(transactional_db: None, redis_url: str) -> None:
    """Every test here has the databases and a Redis."""


def held(leases: Leases, model: Any) -> ModelPipeline:
    """The pipeline of ``model``, its waiting tasks are started with short leases."""
    pipeline = ModelPipeline(model, 1, WORKER)
    leases.add(start_waiting(pipeline, lease=SHORT), pipeline)
    return pipeline


def is_renewed(task: Any) -> bool:
    task.refresh_from_db()
    return bool(task.check_at > timezone.now() + timedelta(seconds=2 * SHORT))


@contextmanager
def in_thread(work: Callable[[], object]) -> Iterator[None]:
    """``work`` goes on in a thread with connections of its own, while the block runs."""

    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(timeout=10)


def seconds_of(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def refuse(*_: Any) -> None:
    raise OperationalError("server closed the connection unexpectedly")


def test_a_sick_database_costs_no_lease_in_another() -> None:
    Elsewhere.objects.create()
    healthy = Invoice.objects.create()
    leases = Leases(WORKER)
    pipelines = [held(leases, Elsewhere), held(leases, Invoice)]

    with connections["other"].execute_wrapper(refuse):
        leases.renew(pipelines)

    assert is_renewed(healthy)


def test_a_redis_that_hangs_delays_no_renewal(own_redis_server: RedisServer) -> None:
    tasks = [Invoice.objects.create(), Ledger.objects.create()]
    leases = Leases(WORKER)
    pipelines = [held(leases, Invoice), held(leases, Ledger)]

    own_redis_server.freeze()

    assert seconds_of(lambda: leases.renew(pipelines)) < 1.0
    assert all(is_renewed(task) for task in tasks)


@pytest.mark.one_server
def test_a_redis_that_hangs_is_asked_once_in_a_report(own_redis_server: RedisServer) -> None:
    models = [Invoice, Ledger, Elsewhere]
    for model in models:
        model.objects.create()
    leases = Leases(WORKER)
    pipelines = [held(leases, model) for model in models]
    own_redis_server.freeze()

    of_one = seconds_of(lambda: leases.renew_claims(pipelines[:1]))
    of_all = seconds_of(lambda: leases.renew_claims(pipelines))

    assert of_all < 2 * of_one


def test_a_locked_row_delays_no_other() -> None:
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("rows cannot be passed over here")
    moved, other = [Invoice.objects.create() for _ in range(2)]
    leases = Leases(WORKER)
    pipeline = held(leases, Invoice)

    with transaction.atomic():
        rows_of(Invoice, "default").select_for_update().get(pk=moved.pk)
        with in_thread(lambda: leases.renew([pipeline])):
            eventually(lambda: is_renewed(other), timeout=2.0)

    assert not any(run.task.stop_flag().is_set() for run in leases.running())


def test_a_locked_place_delays_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user may hold one for long, and another process may hold several in another order."""
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("rows cannot be passed over here")
    monkeypatch.setattr(Errand, "django_simpletask3_limit", Limit(2))
    runs = start_all(errands(2))
    locked, other = LimitPlace.objects.order_by("pk")
    pks = [run.pk for run in runs]
    until = clock.after("default", 1000.0)

    with transaction.atomic():
        LimitPlace.objects.select_for_update().get(pk=locked.pk)
        with in_thread(lambda: renew_places(Errand, pks, other.worker, until, "default")):
            renewed = LimitPlace.objects.filter(pk=other.pk, held_until=until)
            assert eventually(renewed.exists, timeout=2.0)
    locked.refresh_from_db()
    assert locked.held_until < until
