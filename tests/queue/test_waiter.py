"""Blocking claims that reuse a registered waiter."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from contextlib import contextmanager

import pytest
import redis

from django_simpletask3.queue import GRACE_SECONDS, Waiter, outage
from tests.eventually import eventually
from tests.queue.conftest import CHANNEL, PREFIX

LEASES, WAITS = f"{PREFIX}:x:leases", f"{PREFIX}:x:waits"


def wait(queue, waiter, timeout=0.05):
    return queue.claim(CHANNEL, worker="w", lease=60, timeout=timeout, waiter=waiter)


def seconds_left(raw):
    """The seconds until each lease expires."""
    now, microseconds = raw.time()
    found = raw.zrange(LEASES, 0, -1, withscores=True)
    return [end - now - microseconds / 1e6 for _, end in found]


@contextmanager
def claiming(queue, raw, waiter, **details):
    """A claim in another thread, which waits when the block begins; what it takes."""
    taken = []

    def claim():
        taken.extend(queue.claim(CHANNEL, worker="w", timeout=30, waiter=waiter, **details))

    thread = threading.Thread(target=claim)
    thread.start()
    eventually(lambda: raw.info("clients")["blocked_clients"] == 1)
    yield taken
    thread.join(10)


def sent(raw):
    """How often each command was run since the last ``config_resetstat``."""
    stats = raw.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): stats[name]["calls"] for name in stats})


def test_a_reused_waiter_waits_and_claims_in_one_round_trip(queue, raw):
    waiter = Waiter()
    wait(queue, waiter)
    raw.config_resetstat()

    found = [wait(queue, waiter) for _ in range(5)]

    commands, trips = sent(raw), raw.info("stats")["total_reads_processed"]
    assert found == [[]] * 5
    assert (commands["blmove"], commands["evalsha"]) == (5, 5)
    assert trips == 5 + 2  # and two of this test


def test_a_message_that_ends_a_wait_is_claimed_without_another_round_trip(queue, raw):
    waiter = Waiter()
    wait(queue, waiter)
    with claiming(queue, raw, waiter, lease=60):
        queue.push(CHANNEL, [("first", 1)])  # Redis knows the script from now on
    with claiming(queue, raw, waiter, lease=60) as taken:
        raw.config_resetstat()
        queue.push(CHANNEL, [("a", 1)])

    trips = raw.info("stats")["total_reads_processed"]
    assert [message.id for message in taken] == ["a"]
    assert trips == 1 + 1  # that of the push, and one of this test


def test_the_lease_of_a_message_that_ends_a_wait_begins_with_its_claim(queue, raw):
    waiter = Waiter()
    wait(queue, waiter)
    with claiming(queue, raw, waiter, lease=60):
        now, microseconds = raw.time()
        queue.push(CHANNEL, [("a", 1)])

    [(_, end)] = raw.zrange(LEASES, 0, -1, withscores=True)
    assert end >= now + microseconds / 1e6 + 60


def test_a_wait_during_which_redis_loses_the_scripts_is_no_outage(queue, raw):
    outage.forget()
    waiter = Waiter()
    wait(queue, waiter)
    with claiming(queue, raw, waiter, lease=60, limit=2) as taken:
        raw.script_flush()
        raw.lpush(queue.get_mq_key(CHANNEL), "a")

    assert [(message.id, message.problem) for message in taken] == [("a", "no_body")]
    assert (queue.running(CHANNEL), raw.hlen(WAITS), outage.is_on) == (1, 0, False)


def test_what_is_there_at_the_end_of_a_wait_is_claimed(queue, raw):
    waiter = Waiter()
    wait(queue, waiter)
    raw.delete(WAITS)  # as if it had been lost: the push does not wake the worker
    queue.push(CHANNEL, [("a", 1)], priorities={"a": 5})

    taken = wait(queue, waiter)

    assert [message.id for message in taken] == ["a"]
    assert raw.hlen(WAITS) == 0


def test_a_claim_that_is_woken_keeps_what_it_has_claimed(queue, raw):
    waiter = Waiter()
    wait(queue, waiter)
    with claiming(queue, raw, waiter, lease=60, limit=2) as taken:
        raw.delete(WAITS)
        queue.push(CHANNEL, [("a", 1), ("b", 1)], priorities={"a": 5, "b": 5})
        queue.wake()

    assert [message.id for message in taken] == ["a", "b"]
    assert queue.ack_many(taken) == [True, True]
    assert (queue.running(CHANNEL), raw.hlen(WAITS)) == (0, 0)


def test_a_claim_without_a_waiter_leaves_no_registration(queue, raw):
    assert queue.claim(CHANNEL, worker="w", lease=60, timeout=0.05) == []

    assert list(raw.scan_iter("*")) == []


def test_a_registration_outlasts_every_wait(queue, raw):
    waiter = Waiter()
    wait(queue, waiter)
    # Most of that time passes.
    passed = GRACE_SECONDS - 1.0
    waiter.registered_until -= passed
    [running_key] = raw.zrange(LEASES, 0, -1)
    raw.zincrby(LEASES, -passed, running_key)

    wait(queue, waiter)

    [left] = seconds_left(raw)
    assert GRACE_SECONDS - 0.5 < left <= GRACE_SECONDS + 0.1
    assert waiter.token.encode() in running_key


def test_a_reused_waiter_claims_the_moved_message_and_the_next_ones(queue):
    waiter, taken = Waiter(), []
    wait(queue, waiter)
    thread = threading.Thread(
        target=lambda: taken.extend(
            queue.claim(CHANNEL, worker="w", lease=60, timeout=30, limit=2, waiter=waiter)
        )
    )
    thread.start()
    queue.push(CHANNEL, [("a", 1)])
    thread.join(10)

    queue.push(CHANNEL, [("b", 2), ("c", 3)])
    later = wait(queue, waiter) + wait(queue, waiter)

    assert [message.id for message in taken + later] == ["a", "b", "c"]
    assert queue.ack_many(taken + later) == [True] * 3


@pytest.mark.parametrize("is_due", [False, True], ids=["registered", "expired"])
def test_a_registration_that_redis_lost_is_made_again(queue, raw, is_due):
    waiter = Waiter()
    wait(queue, waiter)
    raw.flushall()
    waiter.registered_until -= GRACE_SECONDS + 60.0 if is_due else GRACE_SECONDS - 1.0

    wait(queue, waiter)

    assert [left > GRACE_SECONDS - 1 for left in seconds_left(raw)] == [True]
    assert raw.hlen(WAITS) == 1


def test_a_message_moved_to_a_dead_worker_is_recovered(queue, raw):
    waiter = Waiter()
    wait(queue, waiter)
    wait(queue, waiter)
    queue.push(CHANNEL, [("a", 1)])
    # The worker dies after the blocking move.
    running_key = queue.get_running_key(CHANNEL, waiter.token)
    raw.lmove(queue.get_mq_key(CHANNEL), running_key, "RIGHT", "LEFT")

    ended = queue.expire_leases(["w"])
    queue.recover()

    assert (ended, queue.waiting(CHANNEL), raw.exists(running_key)) == (1, 1, 0)


def test_stop_waiting_leaves_no_key(queue, raw):
    waiter = Waiter()
    wait(queue, waiter)

    queue.stop_waiting(CHANNEL, waiter)

    assert list(raw.scan_iter("*")) == []


def test_a_claim_without_timeout_ends_the_registration(queue, raw):
    waiter = Waiter()
    wait(queue, waiter)
    queue.push(CHANNEL, [("a", 1)])

    found = wait(queue, waiter, timeout=0) + wait(queue, waiter, timeout=0)
    queue.ack_many(found)

    assert [message.id for message in found] == ["a"]
    assert (raw.zcard(LEASES), raw.hlen(WAITS)) == (0, 0)


@pytest.mark.parametrize("minutes", [0, 1], ids=["by a command", "by a script"])
def test_seconds_to_next_expiry_follows_the_leases(queue, expire, monkeypatch, minutes):
    clock, passed = time.monotonic, itertools.count(0, 60 * minutes)

    def seconds():
        later = next(passed)
        monkeypatch.setattr(time, "monotonic", lambda: clock() + later)
        return queue.seconds_to_next_expiry()

    without_leases = seconds()
    queue.push(CHANNEL, [("a", 1), ("b", 1)])
    queue.claim(CHANNEL, worker="w", lease=60)
    queue.claim(CHANNEL, worker="w", lease=30)

    soon = seconds()
    expire()

    assert (without_leases, 29 < soon < 30.1, seconds()) == (float("inf"), True, 0.0)


def test_a_moved_message_is_not_missing_while_the_wait_is_registered(queue, raw):
    waiter = Waiter()
    wait(queue, waiter)
    queue.push(CHANNEL, [("a", {})])
    running_key = queue.get_running_key(CHANNEL, waiter.token)
    raw.rpoplpush(queue.get_mq_key(CHANNEL), running_key)  # the blocking move, its reply lost

    assert queue.missing(CHANNEL, ["a"]) == []
    raw.zincrby(LEASES, -2 * GRACE_SECONDS, running_key)
    assert queue.missing(CHANNEL, ["a"]) == ["a"]


def test_a_moved_message_whose_reply_was_lost_is_claimed_when_the_wait_is_extended(queue, raw):
    waiter = Waiter()
    wait(queue, waiter)
    queue.push(CHANNEL, [("a", 1)])
    raw.rpoplpush(queue.get_mq_key(CHANNEL), queue.get_running_key(CHANNEL, waiter.token))
    waiter.registered_until -= GRACE_SECONDS - 1.0

    found = wait(queue, waiter)

    assert [message.id for message in found] == ["a"]


def test_a_message_moved_before_an_unexpected_error_is_claimed_next(queue, raw, monkeypatch):
    waiter = Waiter()
    wait(queue, waiter)
    queue.push(CHANNEL, [("a", 1)])
    execute = redis.client.Pipeline.execute

    def broken(pipeline, **options):
        execute(pipeline, **options)
        raise ValueError("not one of redis-py's")

    with monkeypatch.context() as patch:
        patch.setattr(redis.client.Pipeline, "execute", broken)
        with pytest.raises(ValueError, match="not one"):
            wait(queue, waiter)

    assert [message.id for message in wait(queue, waiter)] == ["a"]


def test_the_registration_of_a_dead_worker_is_removed(queue, raw):
    queue.push(CHANNEL, [("a", 1)])
    raw.delete(queue.get_mq_key(CHANNEL))
    raw.hset(WAITS, "somewhere", "w")

    assert queue.missing(CHANNEL, ["a"]) == ["a"]
    assert raw.hlen(WAITS) == 0


@pytest.mark.parametrize("done", [0, 1])
def test_a_process_that_dies_while_it_unregisters_its_wait_leaves_nothing(
    queue, raw, done, monkeypatch
):
    waiter = Waiter()
    wait(queue, waiter)
    ask, commands = queue.ask, []

    def ask_until_death(command, **details):
        if len(commands) == done:
            raise KeyboardInterrupt
        commands.append(command)
        return ask(command, **details)

    with monkeypatch.context() as patch:
        patch.setattr(queue, "ask", ask_until_death)
        with pytest.raises(KeyboardInterrupt):
            queue.stop_waiting(CHANNEL, waiter)

    raw.zadd(LEASES, dict.fromkeys(raw.zrange(LEASES, 0, -1), 1))  # its lease has ended
    queue.recover()
    assert (raw.hlen(WAITS), raw.zcard(LEASES)) == (0, 0)
