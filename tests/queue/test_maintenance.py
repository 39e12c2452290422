"""Recovery, adoption, and queries about whole channels."""

from __future__ import annotations

import pytest

from django_simpletask3.queue import Waiter
from tests.eventually import eventually
from tests.queue.conftest import CHANNEL, PREFIX

NOTHING = {"returned": 0, "dropped": 0, "canceled": 0, "kept": 0, "cleared": 0}


def test_a_valid_lease_is_not_recovered(queue, claimed):
    assert queue.recover() == NOTHING
    assert queue.running(CHANNEL) == 1


def test_a_message_whose_lease_expired_is_returned_and_its_claim_invalid(queue, claim):
    queue.push(CHANNEL, [("a", 1)])
    late = claim(lease=0.01)

    counts = eventually(lambda: (found := queue.recover())["returned"] and found)

    assert counts == NOTHING | {"returned": 1}
    assert queue.ack_many([late]) == [False]
    assert claim().attempt == 2


def test_recovery_settles_no_more_than_its_limit(queue, expire):
    queue.push(CHANNEL, [(str(number), 1) for number in range(5)])
    queue.claim(CHANNEL, worker="w", lease=60, limit=5)
    expire()

    counts = [queue.recover(limit=3)["returned"], queue.recover(limit=3)["returned"]]

    assert counts == [3, 2]


def test_the_drop_policy_applies_per_channel(make_queue, server, raw, expire):
    policies = {CHANNEL: {"action": "drop"}}
    queue = make_queue(server.url, running_timeout_handler_policies=policies)
    for channel in (CHANNEL, "other"):
        queue.push(channel, [(channel, 1)])
        queue.claim(channel, worker="w", lease=60)
    expire()

    counts = queue.recover()

    assert counts == NOTHING | {"returned": 1, "dropped": 1}
    assert queue.query(CHANNEL)["status"] == "drop"
    assert queue.query("other")["status"] == "ready"


def test_the_default_action_can_be_drop(make_queue, server, raw, expire):
    queue = make_queue(server.url, default_running_timeout_action="drop")
    queue.push(CHANNEL, [("a", 1)])
    queue.claim(CHANNEL, worker="w", lease=60)
    expire()

    assert queue.recover()["dropped"] == 1
    assert queue.query("a")["status"] == "drop"


def test_a_canceled_message_ends_when_its_lease_does(queue, claimed, expire):
    queue.cancel("a")
    expire()

    assert queue.recover() == NOTHING | {"canceled": 1}
    assert queue.query("a")["status"] == "canceled"


def test_a_message_pushed_again_while_it_ran_is_not_doubled_by_recovery(queue, claimed, expire):
    queue.push(CHANNEL, [("a", 2)])
    expire()

    queue.recover()

    [again] = queue.claim(CHANNEL, worker="w", lease=60, limit=2)
    assert again.data == 2
    assert queue.ack_many([again]) == [True]
    assert queue.waiting(CHANNEL) == 0


def test_a_message_that_was_moved_but_never_started_is_claimed_next(queue, raw, expire):
    queue.push(CHANNEL, [("a", 1), ("b", 2)])
    rkey = queue.get_running_key(CHANNEL, "token")
    raw.zadd("q:x:leases", {rkey: 1})
    raw.rpoplpush(queue.get_mq_key(CHANNEL), rkey)

    assert queue.recover() == NOTHING | {"returned": 1}

    assert [m.id for m in queue.claim(CHANNEL, worker="w", lease=60, limit=2)] == ["a", "b"]


def test_a_missing_body_does_not_lose_the_message(queue, claimed, raw, expire, claim):
    raw.delete("q:item:a")
    expire()

    assert queue.recover()["returned"] == 1
    assert claim().problem == "no_body"


def test_recovery_clears_the_running_key_of_a_finished_message(queue, claimed, raw, expire):
    raw.hset("q:item:a", "status", "done\n...\n")
    expire()

    assert queue.recover() == NOTHING | {"cleared": 1}
    assert not list(raw.scan_iter("q:running:*"))
    assert raw.ttl("q:item:a") > 0
    assert raw.llen("q:done:a") == 1


def test_one_broken_message_does_not_stop_recovery(queue, raw, expire):
    queue.push(CHANNEL, [("a", 1), ("b", 1)])
    queue.claim(CHANNEL, worker="w", lease=60, limit=2)
    raw.hset("q:item:a", "data", "{broken")
    raw.hset("q:item:a", "retry_count", "{broken")
    expire()

    assert queue.recover()["returned"] == 2


def test_recovery_of_one_channel_leaves_the_others(queue, expire):
    for channel in (CHANNEL, CHANNEL + "s"):
        queue.push(channel, [(channel, 1)])
        queue.claim(channel, worker="w", lease=60)
    expire()

    assert queue.recover(channel=CHANNEL)["returned"] == 1
    assert queue.recover()["returned"] == 1


def test_a_running_key_without_a_lease_is_adopted_once(queue, claimed, raw):
    raw.delete("q:x:leases")

    assert (queue.adopt(), queue.adopt()) == (1, 0)

    assert queue.recover() == NOTHING
    score = raw.zscore("q:x:leases", queue.get_running_key(CHANNEL, claimed.running_id))
    assert score == pytest.approx(raw.time()[0] + queue.running_timeout, abs=5)


def test_adoption_uses_the_timeout_of_the_channel(make_queue, server, claimed, raw):
    raw.delete("q:x:leases")
    policies = {CHANNEL: {"running_timeout": 7}}

    make_queue(server.url, running_timeout_handler_policies=policies).adopt()

    score = raw.zscore("q:x:leases", f"q:running:{CHANNEL}:{claimed.running_id}")
    assert score == pytest.approx(raw.time()[0] + 7, abs=3)


def test_adoption_reads_no_keys_of_another_prefix(make_queue, server, raw):
    raw.lpush("q[ab]*:running:c:1", "x")
    raw.lpush("qa:running:c:1", "x")

    assert make_queue(server.url, prefix="q[ab]*").adopt() == 1


def test_no_operation_uses_the_keys_command(queue, claimed, raw, expire):
    raw.config_resetstat()
    queue.adopt()
    expire()
    queue.recovery()
    queue.missing(CHANNEL, ["a"])
    queue.get_running_keys()

    assert "cmdstat_keys" not in raw.info("commandstats")


@pytest.mark.parametrize("depth", [0, 3, 12_000])
def test_missing_returns_messages_neither_queued_nor_claimed(queue, raw, depth):
    if depth:
        raw.lpush(queue.get_mq_key(CHANNEL), *[f"filler-{number}" for number in range(depth)])
    queue.push(CHANNEL, [("held", 1), ("done", 1), ("late", 1)], urgent=True)
    _, done = queue.claim(CHANNEL, worker="w", lease=60, limit=2)
    [late] = queue.claim(CHANNEL, worker="w", lease=60)
    queue.ack_many([done])
    raw.zadd("q:x:leases", {queue.get_running_key(CHANNEL, late.running_id): 1})
    queue.push(CHANNEL, [("waiting", 1)])

    missing = queue.missing(CHANNEL, ["waiting", "held", "done", "late", "never"])

    assert missing == ["done", "late", "never"]
    assert queue.missing(CHANNEL, []) == []


@pytest.fixture
def lost(queue, raw) -> str:
    """A message missing from a long queue, behind more than a page of others."""
    queue.push(CHANNEL, [(f"sooner-{number}", 1) for number in range(5_500)])
    queue.push(CHANNEL, [("lost", 1), ("later", 1)])
    raw.lrem(queue.get_mq_key(CHANNEL), 0, "lost")
    queue.push(CHANNEL, [(f"last-{number}", 1) for number in range(20_000)])
    return "lost"


def test_a_long_queue_is_read_no_further_than_necessary(queue, raw, lost):
    """A message pushed after all messages of the first page is assumed to be queued."""
    raw.config_resetstat()

    assert queue.missing(CHANNEL, ["later", lost]) == []
    assert raw.info("commandstats")["cmdstat_lrange"]["calls"] == 1

    queue.claim(CHANNEL, worker="w", lease=60, limit=5_000)

    assert queue.missing(CHANNEL, ["later", lost]) == [lost]


@pytest.mark.parametrize("place", [-4_500, -9_000])
def test_a_returned_message_in_a_long_queue_hides_no_missing_one(queue, raw, lost, place):
    queue.claim(CHANNEL, worker="w", lease=60, limit=5_000)
    queue.push(CHANNEL, [("old", 1)])
    raw.hset("q:item:old", "add_time", "1.5")
    for distance in range(0, 4_000, 10):
        raw.lset(queue.get_mq_key(CHANNEL), place - distance, "old")

    assert queue.missing(CHANNEL, ["later", lost]) == [lost]


def test_an_urgent_message_is_searched_for_at_once(queue, raw, lost):
    queue.push(CHANNEL, [("first", 1)], urgent=True)
    raw.lrem(queue.get_mq_key(CHANNEL), 0, "first")

    assert queue.missing(CHANNEL, ["first", lost]) == ["first"]


@pytest.mark.parametrize("time", ["9999999999.5", ".inf", "nan", ""])
def test_a_message_without_a_push_time_is_searched_for(queue, raw, lost, time):
    raw.hset("q:item:lost", "add_time", time)

    assert queue.missing(CHANNEL, ["later", lost]) == [lost]


def test_a_missing_message_can_be_pushed(queue, claimed, raw, expire):
    raw.flushall()

    missing = queue.missing(CHANNEL, ["a"])

    assert queue.push(CHANNEL, [(name, 1) for name in missing]) == ["pushed"]
    assert queue.missing(CHANNEL, ["a"]) == []


def test_waiting_and_running_count_per_channel(queue):
    queue.push(CHANNEL, [("a", 1), ("b", 1), ("c", 1)])
    queue.push(CHANNEL + ":more", [("d", 1)])
    queue.claim(CHANNEL, worker="w", lease=60)
    queue.claim(CHANNEL + ":more", worker="w", lease=60)

    assert (queue.waiting(CHANNEL), queue.running(CHANNEL)) == (2, 1)
    assert (queue.waiting("empty"), queue.running("empty")) == (0, 0)


def test_a_server_that_may_lose_messages_is_warned_about(queue, raw):
    raw.config_set("maxmemory-policy", "allkeys-lru")
    try:
        warnings = queue.check_server()
    finally:
        raw.config_set("maxmemory-policy", "noeviction")

    assert [word for word in ("allkeys-lru", "appendonly") if word in " ".join(warnings)] == [
        "allkeys-lru",
        "appendonly",
    ]


def test_a_safe_server_gives_no_warnings(start_server, make_queue, tmp_path):
    own = start_server("--appendonly", "yes", "--dir", str(tmp_path))
    queue = make_queue(own.url)

    assert queue.check_server() == []


def test_every_key_is_under_the_prefix(queue, claimed, raw, expire):
    queue.dead_letter(claimed, "x")
    queue.push(CHANNEL, [("b", 1)])
    queue.claim(CHANNEL, worker="w", lease=60)

    assert all(key.startswith(f"{PREFIX}:".encode()) for key in raw.scan_iter("*"))


def test_claims_and_waits_of_a_dead_worker_are_recovered_at_once(queue, raw):
    queue.push(CHANNEL, [("held", 1), ("alive", 2)])
    queue.claim(CHANNEL, worker="dead", lease=600)
    queue.claim(CHANNEL, worker="alive", lease=600)
    # As if killed between the blocking move and the claim.
    queue.claim_rows(CHANNEL, "dead", 600, Waiter("token"), wait=60)
    queue.push(CHANNEL, [("moved", 3)])
    raw.rpoplpush(queue.get_mq_key(CHANNEL), queue.get_running_key(CHANNEL, "token"))

    ended = queue.expire_leases(["dead"])
    queue.recover()

    assert ended == 2
    assert sorted(raw.lrange(queue.get_mq_key(CHANNEL), 0, -1)) == [b"held", b"moved"]
    assert queue.running(CHANNEL) == 1
    assert raw.hlen(f"{PREFIX}:x:waits") == 0


def test_a_message_knows_how_many_are_claimed_before_it(queue):
    queue.push(CHANNEL, [(f"m{number}", number) for number in range(5)])
    queue.push(CHANNEL, [("first", 0)], urgent=True)

    places = {name: queue.place(CHANNEL, name) for name in ("first", "m0", "m4")}
    queue.claim(CHANNEL, worker="w", limit=2, lease=60)

    assert places == {"first": 0, "m0": 1, "m4": 5}
    assert queue.place(CHANNEL, "m4") == 3


@pytest.mark.parametrize("message_id", ["m0", "unknown", "ü\n"])
def test_a_message_that_is_not_queued_has_no_place(queue, message_id):
    queue.push(CHANNEL, [("m0", 0), ("m1", 1)])
    queue.claim(CHANNEL, worker="w", limit=1, lease=60)

    assert queue.place(CHANNEL, message_id) is None


def test_the_place_is_searched_among_the_next_messages_only(queue):
    queue.push(CHANNEL, [(f"m{number}", number) for number in range(5)])

    assert queue.place(CHANNEL, "m2", limit=3) == 2
    assert queue.place(CHANNEL, "m3", limit=3) is None
