"""One who waits at a queue again and again, and is hardly heard while nothing comes."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from django_simpletask3.queue import GRACE_SECONDS, Waiter
from tests.queue.conftest import CHANNEL, PREFIX

LEASES, WAITS = f"{PREFIX}:x:leases", f"{PREFIX}:x:waits"


def wait(queue, seat, timeout=0.05):
    return queue.claim(CHANNEL, worker="w", lease=60, timeout=timeout, waiter=seat)


def ends(raw):
    """The seconds until each lease ends."""
    now, microseconds = raw.time()
    found = raw.zrange(LEASES, 0, -1, withscores=True)
    return [end - now - microseconds / 1e6 for _, end in found]


def test_who_waits_again_and_again_sends_the_wait_and_nothing_else(queue, raw):
    seat = Waiter()
    wait(queue, seat)
    raw.config_resetstat()

    found = [wait(queue, seat) for _ in range(5)]

    sent = Counter({name: told["calls"] for name, told in raw.info("commandstats").items()})
    assert found == [[]] * 5
    assert (sent["cmdstat_blmove"], sent["cmdstat_evalsha"], sent["cmdstat_zadd"]) == (5, 0, 0)


def test_a_seat_stays_announced_for_longer_than_any_wait(queue, raw):
    seat = Waiter()
    wait(queue, seat)
    # As if most of that time had passed.
    passed = GRACE_SECONDS - 1.0
    seat.registered_until -= passed
    [place] = raw.zrange(LEASES, 0, -1)
    raw.zincrby(LEASES, -passed, place)

    wait(queue, seat)

    [left] = ends(raw)
    assert GRACE_SECONDS - 0.5 < left <= GRACE_SECONDS + 0.1
    assert seat.token.encode() in place


def test_what_comes_to_a_seat_is_taken_at_once_with_what_follows(queue):
    seat, taken = Waiter(), []
    wait(queue, seat)
    waiter = threading.Thread(
        target=lambda: taken.extend(
            queue.claim(CHANNEL, worker="w", lease=60, timeout=30, limit=2, waiter=seat)
        )
    )
    waiter.start()
    queue.push(CHANNEL, [("a", 1)])
    waiter.join(10)

    queue.push(CHANNEL, [("b", 2), ("c", 3)])
    later = wait(queue, seat) + wait(queue, seat)

    assert [message.id for message in taken + later] == ["a", "b", "c"]
    assert queue.ack_many(taken + later) == [True] * 3


@pytest.mark.parametrize("is_due", [False, True], ids=["as it was", "after its time"])
def test_a_redis_that_forgot_a_seat_is_told_of_it_again(queue, raw, is_due):
    seat = Waiter()
    wait(queue, seat)
    raw.flushall()
    seat.registered_until -= GRACE_SECONDS + 60.0 if is_due else GRACE_SECONDS - 1.0

    wait(queue, seat)

    assert [left > GRACE_SECONDS - 1 for left in ends(raw)] == [True]
    assert raw.hlen(WAITS) == 1


def test_who_dies_in_a_seat_takes_no_message_along(queue, raw):
    seat = Waiter()
    wait(queue, seat)
    wait(queue, seat)
    queue.push(CHANNEL, [("a", 1)])
    # The last thing that happened.
    place = queue.get_running_key(CHANNEL, seat.token)
    raw.lmove(queue.get_mq_key(CHANNEL), place, "RIGHT", "LEFT")

    ended = queue.expire_leases(["w"])
    queue.recover()

    assert (ended, queue.waiting(CHANNEL), raw.exists(place)) == (1, 1, 0)


def test_whoever_leaves_leaves_nothing(queue, raw):
    seat = Waiter()
    wait(queue, seat)

    queue.stop_waiting(CHANNEL, seat)

    assert list(raw.scan_iter("*")) == []


def test_a_look_without_a_wait_gives_the_seat_up(queue, raw):
    seat = Waiter()
    wait(queue, seat)
    queue.push(CHANNEL, [("a", 1)])

    found = wait(queue, seat, timeout=0) + wait(queue, seat, timeout=0)
    queue.ack_many(found)

    assert [message.id for message in found] == ["a"]
    assert (raw.zcard(LEASES), raw.hlen(WAITS)) == (0, 0)


@pytest.mark.parametrize("minutes", [0, 1], ids=["by a command", "by a script"])
def test_the_next_end_of_a_lease_is_known(queue, expire, monkeypatch, minutes):
    def next_end():
        monkeypatch.setattr(queue, "_clock_valid_until", queue._clock_valid_until - 60 * minutes)
        return queue.seconds_to_next_expiry()

    nothing = next_end()
    queue.push(CHANNEL, [("a", 1), ("b", 1)])
    queue.claim(CHANNEL, worker="w", lease=60)
    queue.claim(CHANNEL, worker="w", lease=30)

    soon = next_end()
    expire()

    assert (nothing, 29 < soon < 30.1, next_end()) == (float("inf"), True, 0.0)


def test_what_was_moved_to_a_seat_is_not_missing_while_the_wait_is_announced(queue, raw):
    seat = Waiter()
    wait(queue, seat)
    queue.push(CHANNEL, [("a", {})])
    place = queue.get_running_key(CHANNEL, seat.token)
    raw.rpoplpush(queue.get_mq_key(CHANNEL), place)  # as the blocking move that nobody has heard of

    assert queue.missing(CHANNEL, ["a"]) == []
    raw.zincrby(LEASES, -2 * GRACE_SECONDS, place)
    assert queue.missing(CHANNEL, ["a"]) == ["a"]


def test_what_a_wait_brought_unheard_is_taken_when_it_is_announced_further(queue, raw):
    seat = Waiter()
    wait(queue, seat)
    queue.push(CHANNEL, [("a", 1)])
    raw.rpoplpush(queue.get_mq_key(CHANNEL), queue.get_running_key(CHANNEL, seat.token))
    seat.registered_until -= GRACE_SECONDS - 1.0

    found = wait(queue, seat)

    assert [message.id for message in found] == ["a"]


def test_a_wait_that_ends_in_an_unforeseen_error_is_looked_into(queue, raw, monkeypatch):
    seat = Waiter()
    wait(queue, seat)
    queue.push(CHANNEL, [("a", 1)])
    move = queue._move

    def broken(*args):
        move(*args)
        raise ValueError("not one of redis-py's")

    with monkeypatch.context() as patch:
        patch.setattr(queue, "_move", broken)
        with pytest.raises(ValueError, match="not one"):
            wait(queue, seat)

    assert [message.id for message in wait(queue, seat)] == ["a"]


def test_the_name_of_a_seat_that_a_death_left_behind_is_removed(queue, raw):
    queue.push(CHANNEL, [("a", 1)])
    raw.delete(queue.get_mq_key(CHANNEL))
    raw.hset(WAITS, "somewhere", "w")

    assert queue.missing(CHANNEL, ["a"]) == ["a"]
    assert raw.hlen(WAITS) == 0
