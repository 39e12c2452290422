"""The health of databases, Redis, tables, models and workers, and its problems."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connections

from django_simpletask3 import control
from django_simpletask3.context import task_context
from django_simpletask3.db import clock
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.models.registry import table_models, task_models
from django_simpletask3.monitoring import health
from django_simpletask3.monitoring.health_types import Health, ModelHealth, TableHealth
from django_simpletask3.queue import get_queue
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from django_simpletask3.worker.node.banner import banner
from tests.queue.test_rights import grant
from tests.redis_servers import RedisServer
from tests.steps import bring_to, create_task, run_command
from tests.testapp.models import Invoice, Ledger

pytestmark = pytest.mark.django_db(transaction=True)

WORKER = "node:1:token"
ALL = {model._meta.label: {"threads": 1, "held": 0} for model in task_models()}
TABLES = table_models()


def table_of(health: Health, model: Any) -> TableHealth:
    label = model._meta.label
    [found] = [t for t in health.tables if (t.model, t.database) == (label, "default")]
    return found


def model_of(health: Health, model: Any) -> ModelHealth:
    [found] = [state for state in health.models if state.model == model._meta.label]
    return found


def reported(status: dict[str, Any] | None = None, worker: str = WORKER) -> None:
    now = clock.now("default").timestamp()
    jobs = {"recover_expired_leases": {"ended": now - 3}}
    known = {"node": "n", "began": now - 60, "time": now, "models": ALL, "jobs": jobs}
    get_queue().report(worker, {**known, **(status or {})})


def ran(task: Any, lease: float) -> Any:
    until = clock.after("default", lease)
    apply(task, EventKind.START, worker=WORKER, values={"check_at": until})
    return task


command = partial(run_command, "django-simpletask3-status")


def test_a_healthy_project_has_no_problem(redis_url: str) -> None:
    reported()

    state = health.snapshot()

    assert (state.problems, state.healthy) == ([], True)
    assert set(state.databases) == {"default", "other"}
    assert state.redis.error is None
    assert state.redis.version


def test_a_table_tells_what_waits_runs_and_is_overdue(redis_url: str) -> None:
    Invoice.objects.bulk_enqueue([{} for _ in range(3)])
    Invoice.objects.create(run_after=clock.after("default", 3600))
    ran(Invoice.objects.create(), lease=600)
    ran(Invoice.objects.create(), lease=-5)
    done = ran(Invoice.objects.create(), lease=600)
    apply(done, EventKind.ACK, worker=WORKER)

    table = table_of(health.snapshot(), Invoice)

    assert (table.pending, table.due, table.running, table.expired_leases) == (4, 3, 2, 1)
    assert table.is_complete
    assert (table.longest_wait or 0.0) >= 0
    assert (table.longest_expired or 0.0) >= 5


@pytest.mark.parametrize("kind", [EventKind.RESET, EventKind.RECOVER, EventKind.RETRY])
def test_a_task_that_waits_again_has_waited_since_then(redis_url: str, kind: EventKind) -> None:
    task = ran(Invoice.objects.create(), lease=600)
    long_ago = clock.now("default") - timedelta(days=1)
    rows_of(Invoice, "default").filter(pk=task.pk).update_managed(add_time=long_ago)
    apply(task, kind)

    table = table_of(health.snapshot(), Invoice)

    assert table.longest_wait is not None
    assert 0 <= table.longest_wait < 3600


def test_a_model_tells_of_its_messages(redis_url: str) -> None:
    Invoice.objects.bulk_enqueue([{} for _ in range(3)])
    channel = Invoice.get_event_channel()
    get_queue().lpush(channel, "nonsense")
    messages = get_queue().claim(channel, worker=WORKER, limit=2, lease=60)
    get_queue().dead_letter(messages[0], "for a test")

    model = model_of(health.snapshot(), Invoice)

    assert (model.messages, model.in_flight, model.dead_letters) == (2, 1, 1)


def test_a_limited_number_of_rows_is_read_of_a_large_table(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "MAX_ROWS", 5)
    Ledger.objects.bulk_enqueue([{} for _ in range(8)])

    table = table_of(health.snapshot(), Ledger)

    assert (table.pending, table.is_complete) == (5, False)


def test_the_queries_do_not_grow_with_the_rows(
    redis_url: str, django_assert_max_num_queries: Any
) -> None:
    health.snapshot()  # what is remembered of the databases is asked once
    Ledger.objects.bulk_enqueue([{} for _ in range(50)])
    counted = 0
    for using in ("default", "other"):
        # Per database: a connection test, its clock, two of its tables, its limits, its
        # dependencies, its schedules, its deliveries.
        with django_assert_max_num_queries(8, connection=connections[using]) as seen:
            health.snapshot()
        counted += len(seen)

    assert counted >= 4


def test_blocked_tasks_are_counted_up_to_a_limit(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Ledger.objects.bulk_enqueue([{} for _ in range(3)], blocked=True)
    Ledger.objects.create()

    table = table_of(health.snapshot(), Ledger)
    printed, _ = command()
    monkeypatch.setattr(health, "MAX_ROWS", 2)
    limited = table_of(health.snapshot(), Ledger)

    assert (table.pending, table.due, table.running, table.blocked) == (1, 1, 0, 3)
    assert table.is_complete
    assert limited.blocked == 2
    header, line = (
        next(line for line in printed.splitlines() if line.startswith(name)).split()
        for name in ("Table", "testapp.Ledger")
    )
    assert line[header.index("blocked")] == "3"


def test_without_a_worker_nothing_is_well(redis_url: str) -> None:
    assert [problem.split(".")[0] for problem in health.snapshot().problems] == [
        "No worker reports"
    ]


def test_a_model_that_waits_for_a_worker_in_vain_is_a_problem(redis_url: str) -> None:
    Invoice.objects.create()
    reported({"models": {"testapp.Ledger": {"threads": 1, "held": 0}}})

    [problem] = health.snapshot().problems

    assert problem == "1 task of testapp.Invoice waits, and no worker runs it."


def test_a_lease_that_ended_long_ago_is_a_problem(redis_url: str) -> None:
    ran(Invoice.objects.create(), lease=-90)
    reported()

    [problem] = health.snapshot().problems

    assert "1 running task of testapp.Invoice" in problem
    assert "no worker recovers it" in problem


def test_a_recovery_that_stands_still_is_a_problem(redis_url: str) -> None:
    now = clock.now("default").timestamp()
    reported({"jobs": {"recover_expired_leases": {"ended": now - 500}}})

    [problem] = health.snapshot().problems

    assert "No worker has recovered expired leases" in problem


def test_an_unreachable_redis_is_reported_with_all_the_rest(settings: Any) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://:hush-hush@127.0.0.1:1/0"
    Invoice.objects.create()

    printed, code = command("--json")

    state = json.loads(printed)
    assert code == 1
    assert state["problems"][0].startswith("Redis does not answer")
    assert "hush-hush" not in printed
    pending = {(table["model"], table["database"]): table["pending"] for table in state["tables"]}
    assert pending["testapp.Invoice", "default"] == 1
    assert {model["messages"] for model in state["models"]} == {None}


def test_a_redis_that_hangs_is_reported_too(own_redis_server: RedisServer) -> None:
    own_redis_server.freeze()

    printed, code = command()

    assert code == 1
    assert "Redis does not answer" in printed


@pytest.fixture
def limited(redis_client: Any, redis_url: str, settings: Any) -> Iterator[Callable[..., None]]:
    """Let the settings name a user of Redis with the documented rights, but for some."""

    def limit(*without: str) -> None:
        grant(redis_client, settings.DJANGO_SIMPLETASK3_SIMQ_PREFIX, *without)
        url = redis_url.replace("://", "://limited:hush-hush@", 1)
        settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = url

    yield limit
    redis_client.execute_command("ACL", "DELUSER", "limited")


@pytest.mark.parametrize("name", ["time", "lpos", "evalsha"])
def test_a_missing_right_is_one_problem_that_names_it(
    limited: Callable[..., None], name: str
) -> None:
    limited(name)

    printed, code = command("--json")

    state = json.loads(printed)
    [problem] = state["problems"]
    assert code == 1
    assert problem.startswith("Redis refuses a command: The user of Redis at")
    assert f"may not use {name.upper()}: grant the rights" in problem
    assert state["redis"]["is_refusal"]
    assert "hush-hush" not in printed
    assert name.upper() in banner(task_models(), 1, burst=False)
    assert "does not answer" not in printed + banner(task_models(), 1, burst=False)


def test_without_info_only_the_figures_of_redis_are_missing(limited: Callable[..., None]) -> None:
    limited("info")
    Invoice.objects.create()
    reported()

    printed, code = command("--json")

    state = json.loads(printed)
    assert (code, state["problems"], state["redis"]["version"]) == (0, [], None)
    assert "may not use INFO" in state["redis"]["warnings"][0]
    assert model_of(health.snapshot(), Invoice).messages == 1
    assert "does not answer" not in command()[0]


def test_an_unreachable_database_is_reported_with_all_the_rest(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported()
    nowhere = {**connections["other"].settings_dict, "NAME": "/nowhere/at/all", "PORT": "1"}
    connections["other"].close()
    monkeypatch.setattr(connections["other"], "settings_dict", nowhere)

    state = health.snapshot()

    assert [problem.split(" does")[0] for problem in state.problems] == ["The database 'other'"]
    assert {table.database for table in state.tables} == {"default"}


def test_a_wrong_setting_is_reported_and_does_not_stop_the_probe(settings: Any) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "gopher://nowhere"

    printed, code = command("--json")

    assert code == 1
    assert "Redis does not answer" in json.loads(printed)["problems"][0]


def test_the_command_is_readable(redis_url: str) -> None:
    Invoice.objects.create()
    reported()

    printed, code = command()

    assert code == 0
    assert "Database  default" in printed
    assert "testapp.Invoice" in printed
    assert WORKER in printed
    assert printed.rstrip().endswith("No problems.")


@pytest.mark.parametrize("actor", ["ada", ""])
def test_a_paused_queue_with_tasks_is_a_notice_and_no_problem(actor: str, redis_url: str) -> None:
    reported()
    with task_context(actor=actor):
        control.pause(Invoice)
    without_tasks, _ = command()
    Invoice.objects.create()
    with_one, code = command()
    Invoice.objects.create()
    with_two, _ = command()

    notice = f"Notice    The queue of testapp.Invoice is paused by {actor or 'an operator'}: "
    assert "Notice" not in without_tasks
    assert f"{notice}1 task waits in it." in with_one
    assert f"{notice}2 tasks wait in it." in with_two
    assert code == 0


def test_a_deregistered_worker_is_not_listed(settings: Any, redis_url: str) -> None:
    reported(worker="a")
    reported(worker="b")
    get_queue().deregister_worker("a")

    assert [report.worker for report in get_queue().workers()] == ["b"]


def test_a_report_keeps_what_a_stock_client_reads(redis_url: str) -> None:
    reported()

    status = get_queue().get_worker_status(WORKER)

    assert status is not None
    assert status["worker"] == WORKER
    assert status["ttl"] > 0
    assert status["update_time"] >= status["start_time"]


def test_rows_of_every_kind_of_model_can_be_looked_at(redis_url: str) -> None:
    reported()

    labels = {table.model for table in health.snapshot().tables}

    assert labels == {root._meta.label for root in TABLES}


def test_a_canceled_task_is_not_counted(redis_url: str) -> None:
    task = Invoice.objects.create()
    task.cancel()
    past = clock.now("default") - timedelta(days=1)

    assert not rows_of(Invoice, "default").filter(check_at__lte=past).exists()
    assert table_of(health.snapshot(), Invoice).pending == 0


def test_a_project_without_redis_is_healthy_and_says_so(settings: Any) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "none://"
    Invoice.objects.create()

    printed, code = command()
    state = json.loads(command("--json")[0])

    assert (code, "none://: workers poll the tables" in printed) == (0, True)
    assert (state["redis"]["is_used"], state["redis"]["error"]) == (False, None)
    assert {model["messages"] for model in state["models"]} == {None}
    assert {table["due"] for table in state["tables"] if table["model"] == "testapp.Invoice"} >= {1}


def test_without_redis_tasks_that_no_worker_starts_are_a_problem(settings: Any) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "none://"
    task = Invoice.objects.create()
    long_ago = clock.now("default") - timedelta(minutes=5)
    rows_of(Invoice, "default").filter(pk=task.pk).update_managed(mod_time=long_ago)

    [problem] = health.snapshot().problems
    control.pause(Invoice)
    paused = health.snapshot().problems
    control.resume(Invoice)
    bring_to(create_task(Invoice), Status.RUNNING)

    assert problem == "1 task of testapp.Invoice waits, and no worker runs it."
    assert paused == health.snapshot().problems == []
