"""Whatever stands in Redis: honest tasks run, pages answer, ``status`` reports."""

import json
from functools import partial
from typing import Any

import pytest
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_simpletask3.db import clock
from django_simpletask3.execution import finish, perform, start
from django_simpletask3.models import SimpleTask
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.monitoring import health
from django_simpletask3.queue import get_queue
from django_simpletask3.queue.encoding import dumps
from django_simpletask3.recovery import service
from django_simpletask3.states import Status
from tests.queue.test_hostile_content import EXPENSIVE, FIELDS, LETTERS, NONSENSE
from tests.redis_servers import RedisServer
from tests.steps import create_task, run_command, status_of
from tests.testapp.models import Invoice, TextKeyed, UuidKeyed

pytestmark = pytest.mark.django_db(transaction=True)

WORKER = "node:1:token"
KEYS: dict[str, Any] = {
    "digits": 10**399,
    "beyond 64 bits": 2**64,
    "negative": -(2**70),
    "infinity": float("inf"),
    "not a number": float("nan"),
    "true": True,
    "NUL": "a\x00b",
    "surrogate": "\ud800",
    "long": "k" * 30_000,
    "exponent": "1e999999999",
    "list": [1, [2]],
    "dict": {"a": 1},
    "set": {1, 2},
    "bytes": b"\xff\x00",
    "empty": "",
    "nested": [[[[[[[[1]]]]]]]],
}
FORGED: dict[str, dict[str, Any]] = {
    **{f"key: {name}": {"id": key} for name, key in KEYS.items()},
    **{f"database: {name}": {"id": 1, "using": key} for name, key in KEYS.items()},
    **{f"app: {name}": {"app_label": key, "id": 1} for name, key in KEYS.items()},
    **{f"model: {name}": {"model_name": key, "id": 1} for name, key in KEYS.items()},
    "no key": {},
    "null": {"id": None},
    "other keys": {1: 2, None: 3, "id": 10**9},
}


def work_off(model: type[SimpleTask]) -> None:
    """Claim, run and finish what a worker of ``model`` finds."""
    messages = get_queue().claim(model.get_event_channel(), worker=WORKER, limit=500, lease=60)
    runs = start.start(model, messages, worker=WORKER, lease=60)[0]
    for run in runs:
        perform.perform(run)
    finish.finish(runs)


@pytest.mark.parametrize("model", [Invoice, TextKeyed, UuidKeyed])
def test_a_forged_message_costs_itself_only(model: Any) -> None:
    channel, meta = model.get_event_channel(), model._meta
    label = {"app_label": meta.app_label, "model_name": meta.model_name}
    get_queue().push(channel, [(name, label | body) for name, body in FORGED.items()])
    honest = create_task(model)

    work_off(model)

    assert status_of(honest) == Status.SUCCESS
    assert (get_queue().waiting(channel), get_queue().running(channel)) == (0, 0)
    for letter in get_queue().dead_letters(channel):
        assert len(json.dumps(letter)) < 10_000, letter["id"]
    get_queue().requeue_dead_letters(channel)
    again = create_task(model)
    work_off(model)
    assert status_of(again) == Status.SUCCESS


@pytest.mark.parametrize("text", EXPENSIVE.values(), ids=EXPENSIVE)
def test_an_expensive_task_costs_itself_only(redis_client: Any, text: bytes) -> None:
    expensive, honest = Invoice.objects.create(), Invoice.objects.create()
    redis_client.hset(get_queue().get_item_key(expensive.get_task_id()), "data", text)

    work_off(Invoice)

    assert status_of(honest) == Status.SUCCESS
    assert status_of(expensive) == Status.PENDING
    [letter] = get_queue().dead_letters(Invoice.get_event_channel())
    assert letter["id"] == expensive.get_task_id()
    assert letter["reason"].startswith("malformed message")


def test_dead_lettering_without_redis_does_not_stop_the_batch(
    own_redis_server: RedisServer,
) -> None:
    channel = Invoice.get_event_channel()
    get_queue().push(channel, [("forged", 7)])
    honest = Invoice.objects.create()
    messages = get_queue().claim(channel, worker=WORKER, limit=9, lease=60)
    own_redis_server.kill()

    runs = start.start(Invoice, messages, worker=WORKER, lease=60)[0]

    assert len(messages) == 2
    assert [run.pk for run in runs] == [honest.pk]


@pytest.mark.parametrize("letter", LETTERS.values(), ids=LETTERS)
@pytest.mark.one_server
def test_the_dashboard_shows_whatever_stands_among_the_dead_letters(
    admin_client: Any, redis_client: Any, letter: bytes
) -> None:
    queue, channel = get_queue(), Invoice.get_event_channel()
    redis_client.lpush(queue.get_dead_key(channel), letter)
    queue.push(channel, [("honest", 7)])
    queue.dead_letter(queue.claim(channel, worker=WORKER, lease=60)[0], "for a test")

    page = admin_client.get(reverse("admin:django_simpletask3_dashboard_changelist"))
    answer = admin_client.post(
        reverse("admin:django_simpletask3_dashboard_command"),
        {"action": "replay", "target": "testapp.Invoice"},
    )

    assert (page.status_code, answer.status_code) == (200, 302)
    assert b"for a test" in page.content
    assert queue.waiting(channel) == 1


ODD_REPORTS: dict[str, Any] = {
    **{f"models: {name}": {"models": key} for name, key in KEYS.items()},
    **{f"began: {name}": {"began": key, "time": key} for name, key in KEYS.items()},
    **{f"counts: {name}": {"counts": {"a": key}} for name, key in KEYS.items()},
    **{f"threads: {name}": {"models": {"a": {"threads": key}}} for name, key in KEYS.items()},
    **{f"job: {name}": {"jobs": {"a": {"ended": key}}} for name, key in KEYS.items()},
    **{f"node: {name}": {"node": key, "version": key} for name, key in KEYS.items()},
    "models of lists": {"models": {"a": [1]}},
    "jobs of texts": {"jobs": {"recover_expired_leases": "x"}},
    "recovery": {"began": 1.0, "time": 1.0, "jobs": {"recover_expired_leases": {"ended": "x"}}},
    "keys of numbers": {"models": {1: {"threads": 1}}, "counts": {None: 1}, "jobs": {1.5: {}}},
    "many models": {"models": {str(number): 1 for number in range(4000)}},
}


def test_a_bad_report_costs_itself_only(admin_client: Any, redis_client: Any) -> None:
    queue, now = get_queue(), clock.now("default").timestamp()
    for name, report in ODD_REPORTS.items():
        queue.report(name, {})
        redis_client.hset(queue.get_worker_key(name), "x_report", dumps(report))
    for name, text in NONSENSE.items():
        queue.report(f"text: {name}", {})
        redis_client.hset(queue.get_worker_key(f"text: {name}"), "x_report", text)
    jobs = {"recover_expired_leases": {"ended": now - 300}}
    queue.report(WORKER, {"node": "n", "began": now - 900, "time": now, "jobs": jobs})

    check_that_everything_answers(admin_client)

    snapshot = health.snapshot()
    [honest] = [worker for worker in snapshot.workers if worker.worker == WORKER]
    assert len(snapshot.workers) == len(ODD_REPORTS) + len(NONSENSE) + 1
    assert honest.node == "n"
    assert honest.seconds_since_recovery == pytest.approx(300, abs=60)


def check_that_everything_answers(client: Any) -> None:
    """Whether the pages and commands that read Redis do."""
    assert client.get(reverse("admin:django_simpletask3_dashboard_changelist")).status_code == 200
    reject = partial(pytest.fail, "no JSON number")
    text, _ = run_command("django-simpletask3-status", "--json")
    assert json.loads(text, parse_constant=lambda _: reject())["redis"]["error"] is None
    text, _ = run_command("django-simpletask3-status")
    assert all(line.isprintable() for line in text.splitlines())


texts = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([*NONSENSE.values(), *EXPENSIVE.values(), *LETTERS.values()]),
)
scores = st.floats(allow_nan=False) | st.sampled_from([0.0, 1.0, 2e9])
names = st.binary(min_size=1, max_size=20) | st.sampled_from([b"w", b"*", b"a:b", b"\x00\n"])
contents = st.one_of(
    st.tuples(st.just("string"), texts),
    st.tuples(st.just("list"), st.lists(texts, min_size=1, max_size=4)),
    st.tuples(
        st.just("hash"),
        st.dictionaries(st.sampled_from([f.encode() for f in FIELDS]) | names, texts, min_size=1),
    ),
    st.tuples(st.just("zset"), st.dictionaries(names, scores, min_size=1, max_size=4)),
    st.tuples(st.just("set"), st.sets(texts, min_size=1, max_size=3)),
)
#: Where: every key of ours that has one place, and those that are named by others.
places = st.one_of(
    st.sampled_from(
        (
            *("mq:{c}", "item:{i}", "done:{i}", "running:{c}:x", "worker:w", f"worker:{WORKER}"),
            *("x:leases", "x:waits", "x:mark", "x:workers", "x:dead:{c}", "x:rights"),
            *("x:priority:{c}", "x:due:{c}"),
        )
    ).map(str.encode),
    st.sampled_from(
        [b"item:", b"done:", b"running:", b"worker:", b"mq:", b"x:dead:", b"x:priority:"]
    ).flatmap(lambda head: names.map(lambda name: head + name)),
)


def write(client: Any, key: bytes, kind: str, content: Any) -> None:
    client.delete(key)
    if kind == "string":
        client.set(key, content)
    elif kind == "list":
        client.rpush(key, *content)
    elif kind == "hash":
        client.hset(key, mapping=content)
    elif kind == "set":
        client.sadd(key, *content)
    else:
        client.zadd(key, content)


@pytest.mark.once
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(places, contents), min_size=1, max_size=6))
@pytest.mark.one_server
def test_whatever_stands_in_redis_honest_tasks_run_and_pages_answer(
    admin_client: Any, redis_client: Any, writes: list[Any]
) -> None:
    queue, channel = get_queue(), Invoice.get_event_channel()
    before = Invoice.objects.create()
    queue.report(WORKER, {"node": "n"})
    for place, (kind, content) in writes:
        name = place.replace(b"{c}", channel.encode())
        name = name.replace(b"{i}", before.get_task_id().encode())
        write(redis_client, queue.prefix.encode() + b":" + name, kind, content)

    work_off(Invoice)
    after = Invoice.objects.create()
    work_off(Invoice)
    for recover in (service.requeue_expired_claims, service.adopt_foreign_claims):
        recover()
    service.detect_redis_reset()
    queue.requeue_dead_letters(channel)
    queue.expire_leases([WORKER])
    rows_of(Invoice, "default").pending().update_managed(check_at=clock.now("default"))
    service.push_overdue()
    for _ in range(3):
        service.requeue_expired_claims()
        work_off(Invoice)

    assert (status_of(before), status_of(after)) == (Status.SUCCESS, Status.SUCCESS)
    check_that_everything_answers(admin_client)
    redis_client.flushall()
