"""The cost of a task in Redis: bytes of its finished message, number of commands."""

from __future__ import annotations

from collections import Counter

import pytest

CHANNEL = "django-simpletask3:orders.invoice"
TASKS = 1000
WORKER = "web1:26527:d67677b9"
#: What the client sends itself, and what the tests ask.
NOT_OURS = {"client|setname", "config|resetstat", "flushall", "info"}


@pytest.fixture
def queue(server, raw, make_queue):
    """A queue with the default prefix; the server has cached the scripts."""
    queue = make_queue(server.url, prefix="simq")
    finish(queue, [-1])
    queue.cancel_many(CHANNEL, ["none"])
    raw.flushdb()
    return queue


def body(pk):
    return {"app_label": "orders", "model_name": "invoice", "id": pk}


def start(queue, pks):
    queue.push(CHANNEL, [(f"{CHANNEL}:{pk}", body(pk)) for pk in pks])
    return queue.claim(CHANNEL, worker=WORKER, lease=30, limit=len(pks))


def finish(queue, pks):
    assert all(queue.ack_many(start(queue, pks)))


ENDINGS = {
    "success": lambda q, ms: q.ack_many(ms, True),
    "failure": lambda q, ms: q.ack_many(ms, False),
    "drop": lambda q, ms: q.drop_many(ms),
    "cancel_many": lambda q, ms: q.cancel_many(CHANNEL, [message.id for message in ms]),
}


def bytes_by_kind(raw):
    found = Counter()
    for key in raw.scan_iter("*", count=1000):
        found[key.split(b":")[1].decode()] += raw.memory_usage(key, samples=0)
    return found


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_finished_message_takes_360_bytes_at_most(queue, raw, ending):
    ENDINGS[ending](queue, start(queue, range(1_000_000, 1_000_000 + TASKS)))

    found = bytes_by_kind(raw)

    assert set(found) == {"item", "done", "worker"}
    assert found.total() / TASKS - found["worker"] / TASKS <= 360, found
    assert found["item"] / TASKS <= 160, found
    assert found["worker"] <= 400, found


@pytest.mark.parametrize("ending", ENDINGS)
def test_whatever_a_finished_message_leaves_expires(queue, raw, ending):
    ENDINGS[ending](queue, start(queue, [7]))

    left = {key.decode(): raw.ttl(key) for key in raw.scan_iter("*")}

    assert len(left) == 3
    assert 86_000 < left[f"simq:done:{CHANNEL}:7"] <= 86_400
    assert 604_000 < left[f"simq:item:{CHANNEL}:7"] <= 604_800
    assert all(ttl > 0 for ttl in left.values())


def commands_per_task(raw, work):
    raw.config_resetstat()
    work()
    calls = {name[8:]: stats["calls"] for name, stats in raw.info("commandstats").items()}
    return sum(count for name, count in calls.items() if name not in NOT_OURS) / TASKS, calls


def test_a_task_alone_takes_23_commands_from_push_to_ack(queue, raw):
    def work():
        for pk in range(TASKS):
            finish(queue, [pk])

    commands, calls = commands_per_task(raw, work)

    assert commands <= 23.1, calls
    assert calls["evalsha"] == 3 * TASKS


def test_a_task_among_a_hundred_takes_12_commands_from_push_to_ack(queue, raw):
    def work():
        for first in range(0, TASKS, 100):
            finish(queue, range(first, first + 100))

    commands, calls = commands_per_task(raw, work)

    assert commands <= 12.2, calls
    assert calls["evalsha"] == 3 * TASKS / 100
