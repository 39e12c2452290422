"""Messages with a priority wait in a sorted set beside the list; only its order differs."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from django_simpletask3.queue import Waiter
from tests.eventually import eventually
from tests.queue.conftest import CHANNEL, PREFIX

PRIORITY = f"{PREFIX}:x:priority:{CHANNEL}"
LEASES, WAITS = f"{PREFIX}:x:leases", f"{PREFIX}:x:waits"


def push(queue, *names, **options):
    """Push messages whose names may end in a priority: "a", "b+5", "c-1"."""
    pairs = [split(name) for name in names]
    priorities = {name: priority for name, priority in pairs if priority}
    return queue.push(CHANNEL, [(name, 1) for name, _ in pairs], priorities=priorities, **options)


def split(name):
    head, number = name[:1], name[1:]
    return head, int(number or 0)


def claim(queue, limit=100, **options):
    return queue.claim(CHANNEL, worker="w", lease=60, limit=limit, **options)


def order(queue, limit=100):
    return "".join(message.id for message in claim(queue, limit))


def test_positive_ones_are_claimed_first_then_the_list_then_negative_ones(queue):
    push(queue, "a-1", "b", "c+1", "d-100", "e+100", "f", "g+1", "h-1")

    assert order(queue) == "ecgbfahd"


def test_the_order_is_the_same_if_they_are_claimed_one_by_one(queue):
    push(queue, "a-1", "b", "c+1", "d-100", "e+100", "f", "g+1", "h-1")

    assert "".join(order(queue, limit=1) for _ in range(8)) == "ecgbfahd"


def test_equals_are_claimed_in_the_order_of_their_pushes(queue):
    for name in "zyxwv":
        push(queue, f"{name}+7")
    push(queue, "c+7", "b+7", "a+7")

    assert order(queue) == "zyxwvcba"


def test_an_urgent_message_is_the_first_of_its_priority(queue):
    push(queue, "a+1", "b-1", "c", "d+2")
    push(queue, "e+1", "f-1", "g", "h+1", urgent=True)

    assert order(queue) == "dehagcfb"


@pytest.mark.parametrize(
    ("again", "expected"),
    [
        ("a+1", "abcxde"),
        ("c+2", "cabxde"),
        ("x+2", "xabcde"),
        ("d+1", "abcdxe"),
        ("x-1", "abcdex"),
        ("a", "bcxade"),
        ("e", "abcxed"),
    ],
)
def test_a_message_pushed_again_moves_only_if_its_priority_has_changed(queue, again, expected):
    push(queue, "a+1", "b+1", "c+1", "x", "d-1", "e-1")

    assert push(queue, again) == ["queued"]

    assert queue.waiting(CHANNEL) == 6
    assert order(queue) == expected


def test_a_claimed_message_that_is_pushed_with_a_priority_is_queued_with_it(queue):
    push(queue, "a", "b")
    held = claim(queue, limit=1)

    assert push(queue, "a+1") == ["running"]
    queue.ack_many(held)

    assert order(queue) == "ab"


@pytest.mark.parametrize("number", [-101, 101, 0.5, 10**9])
def test_a_priority_out_of_range_is_refused_and_nothing_is_pushed(queue, number):
    with pytest.raises(ValueError, match=r"the priority of b is .* from -100 to 100"):
        queue.push(CHANNEL, [("a", 1), ("b", 1)], priorities={"b": number})

    assert queue.waiting(CHANNEL) == 0


@pytest.mark.parametrize(
    ("head", "expected"), [(True, "acbde"), (False, "cabed")], ids=["head", "end"]
)
def test_a_returned_message_keeps_its_priority(queue, head, expected):
    push(queue, "a+1", "b", "d-1")
    held = claim(queue)
    push(queue, "c+1", "e-1")

    queue.ret_many(held, head=head)

    assert order(queue) == expected


def test_a_recovered_message_keeps_its_priority(queue, expire):
    push(queue, "a-1", "b", "c+1")
    claim(queue)
    expire()

    assert queue.recover()["returned"] == 3
    assert queue.waiting(CHANNEL) == 3
    assert order(queue) == "cba"


def test_the_place_of_a_message_is_that_in_the_order_of_claims(queue):
    push(queue, "a-1", "b", "c+1", "d-100", "e+100", "f", "g+1", "h-1")

    places = {name: queue.place(CHANNEL, name, limit=8) for name in "ecgbfahdx"}

    assert places == {**{name: place for place, name in enumerate("ecgbfahd")}, "x": None}


@pytest.mark.parametrize("limit", range(1, 9))
def test_a_place_beyond_the_limit_is_none(queue, limit):
    push(queue, "a-1", "b", "c+1", "d-100", "e+100", "f", "g+1", "h-1")

    places = [queue.place(CHANNEL, name, limit=limit) for name in "ecgbfahd"]

    assert places == [*range(limit), *[None] * (8 - limit)]


def test_a_missing_message_differs_from_one_that_waits_with_its_priority(queue, raw):
    push(queue, "a+1", "b-1", "c", "d+1")
    raw.zrem(PRIORITY, "d")

    assert queue.missing(CHANNEL, [*"abcde"]) == ["d", "e"]


def test_a_missing_message_with_a_priority_is_put_back(queue, raw):
    push(queue, "a", "b+1")
    raw.delete(PRIORITY)

    assert push(queue, "b+1") == ["pushed"]
    assert order(queue) == "ba"


def test_prioritized_messages_are_counted_and_canceled_like_others(queue, raw):
    push(queue, "a+1", "b", "c-1")
    assert queue.cancel("c") is True
    before = queue.waiting(CHANNEL)

    queue.cancel_many(CHANNEL, ["a"])

    assert (before, queue.waiting(CHANNEL)) == (3, 2)
    assert order(queue) == "b"
    assert queue.query("c")["status"] == "canceled"
    assert queue.waiting(CHANNEL) == 0
    assert not raw.exists(PRIORITY)


def test_a_dead_letter_keeps_the_priority(queue):
    push(queue, "a-7")
    queue.dead_letter(claim(queue)[0], "for a test")
    push(queue, "b")

    [letter] = queue.dead_letters(CHANNEL)
    requeued = queue.requeue_dead_letters(CHANNEL)

    assert (letter["priority"], requeued) == (-7, 1)
    assert [message.priority for message in claim(queue)] == [0, -7]


def test_ten_thousand_low_ones_delay_a_high_one_by_no_claim(queue):
    low = [str(number) for number in range(10_000)]
    queue.push(CHANNEL, [(name, 1) for name in low], priorities=dict.fromkeys(low, -1))
    claim(queue, limit=200)

    queue.push(CHANNEL, [("high", 1)], priorities={"high": 1})

    assert [message.id for message in claim(queue, limit=2)] == ["high", "200"]
    assert queue.waiting(CHANNEL) == 10_000 - 201


def test_the_place_stays_within_the_range_of_the_priority(queue, raw):
    push(queue, "a+1", "b+2")
    raw.zadd(PRIORITY, {"x": -(2**45) + 2**45 - 1, "y": -(2**45)})  # the edges of priority 1

    push(queue, "c+1", "d+3")
    push(queue, "e+1", urgent=True)

    found = order(queue)
    assert (found[:2], {*found[2:]}) == ("db", {*"acexy"})


@pytest.mark.parametrize("priority", ["+1", "-1"])
def test_a_worker_that_waits_gets_a_message_with_a_priority_at_once(queue, raw, priority):
    waiter = Waiter()
    with ThreadPoolExecutor(1) as pool:
        for name in "ab":
            wait = pool.submit(claim, queue, timeout=30, waiter=waiter)
            eventually(lambda: raw.info("clients")["blocked_clients"] == 1)
            push(queue, f"{name}{priority}")
            held = wait.result(timeout=10)
            assert [message.id for message in held] == [name]
            assert queue.ack_many(held) == [True]

    assert queue.waiting(CHANNEL) == 0
    assert list(raw.scan_iter("q:mq:*")) == list(raw.scan_iter("q:running:*")) == []


def test_every_waiting_worker_gets_one_of_the_prioritized_messages(queue, raw):
    with ThreadPoolExecutor(5) as pool:
        waits = [pool.submit(claim, queue, limit=1, timeout=30) for _ in range(5)]
        eventually(lambda: raw.info("clients")["blocked_clients"] == 5)
        push(queue, "a+1", "b-1", "c+3", "d-2", "e+2")
        taken = [message.id for wait in waits for message in wait.result(timeout=10)]

    assert sorted(taken) == [*"abcde"]
    assert queue.waiting(CHANNEL) == 0


def test_a_returned_message_with_a_priority_wakes_a_worker(queue, raw):
    push(queue, "a-1")
    held = claim(queue)
    with ThreadPoolExecutor(1) as pool:
        wait = pool.submit(claim, queue, timeout=30)
        eventually(lambda: raw.info("clients")["blocked_clients"] == 1)
        queue.ret_many(held)

        assert [message.id for message in wait.result(timeout=10)] == ["a"]


def register(queue, waiter):
    """Leave ``waiter`` registered, as a worker is that blocks or is about to."""
    assert claim(queue, timeout=0.05, waiter=waiter) == []


def test_an_entry_that_only_wakes_is_not_counted_and_not_claimed(queue, raw):
    register(queue, waiter := Waiter())
    push(queue, "a-1")
    push(queue, "b")
    assert raw.llen(queue.get_mq_key(CHANNEL)) == 2

    waiting = queue.waiting(CHANNEL)

    assert waiting == 2
    assert "".join(m.id for m in claim(queue, waiter=waiter)) == "ba"
    assert queue.waiting(CHANNEL) == 0


def test_the_place_of_a_message_counts_no_entry_that_only_wakes(queue, raw):
    register(queue, Waiter())
    push(queue, "a-1")
    push(queue, "b", "c")
    push(queue, "d", urgent=True)
    assert raw.lrange(queue.get_mq_key(CHANNEL), 0, -1) == [b"c", b"b", b"a", b"d"]

    places = [queue.place(CHANNEL, name, limit=4) for name in "dbca"]

    assert places == [0, 1, 2, 3]
    assert [queue.place(CHANNEL, name, limit=2) for name in "dbca"] == [0, 1, None, None]


def test_without_a_worker_that_waits_the_list_has_no_entry(queue, raw):
    push(queue, "a-1", "b+1")

    assert not raw.exists(queue.get_mq_key(CHANNEL))


def test_a_worker_that_dies_when_it_was_woken_wakes_another_one(queue, raw):
    """Of two workers that wait, the one that is woken dies before it claims."""
    register(queue, dead := Waiter())
    push(queue, "a-1", "b-1")
    raw.rpoplpush(queue.get_mq_key(CHANNEL), queue.get_running_key(CHANNEL, dead.token))
    queue.cancel_many(CHANNEL, ["a"])
    with ThreadPoolExecutor(1) as pool:
        # A registration of its own, so that it blocks without a look at the set.
        living = Waiter(registered_until=float("inf"))
        raw.hset(WAITS, queue.get_running_key(CHANNEL, living.token), "w2")
        wait = pool.submit(claim, queue, timeout=30, waiter=living)
        eventually(lambda: raw.info("clients")["blocked_clients"] == 1)
        raw.zadd(LEASES, {queue.get_running_key(CHANNEL, dead.token): 1})

        assert queue.recover()["cleared"] == 1

        assert [message.id for message in wait.result(timeout=10)] == ["b"]
    assert queue.waiting(CHANNEL) == 0


def test_a_worker_that_was_woken_and_died_leaves_the_message_in_its_place(queue, raw, expire):
    register(queue, dead := Waiter())
    push(queue, "a-1")
    raw.rpoplpush(queue.get_mq_key(CHANNEL), queue.get_running_key(CHANNEL, dead.token))
    push(queue, "b")
    expire()

    assert queue.recover()["cleared"] == 1
    assert queue.waiting(CHANNEL) == 2
    assert order(queue) == "ba"


def test_a_stock_client_takes_messages_of_priority_0_only(queue, stock):
    push(queue, "a+1", "b", "c-1")

    assert (stock.pop(CHANNEL, timeout=1)["id"], stock.pop(CHANNEL, timeout=1)) == ("b", None)
    assert order(queue) == "ac"


def test_a_message_that_a_stock_client_took_is_not_claimed_again(queue, stock, raw):
    """The stock client takes the entry that was to wake a worker; the message is whole."""
    register(queue, Waiter())
    push(queue, "a+1")

    assert stock.pop(CHANNEL, timeout=1)["data"] == 1
    assert claim(queue) == []
    assert not raw.exists(PRIORITY)


def test_what_a_stock_client_returns_waits_in_the_list(queue, stock):
    register(queue, Waiter())
    push(queue, "a+1")
    stock.pop(CHANNEL, timeout=1)
    claim(queue)

    stock.ret("a")

    assert queue.waiting(CHANNEL) == 1
    assert order(queue) == "a"


def test_all_prioritized_messages_are_finished_once_by_eight_workers(queue):
    names = [f"m{number}" for number in range(1000)]
    priorities = {name: number % 5 - 2 for number, name in enumerate(names)}
    queue.push(CHANNEL, [(name, 1) for name in names], priorities=priorities)
    done, lock = [], threading.Lock()

    def work(seed):
        while held := queue.claim(CHANNEL, worker=f"w{seed}", lease=60, limit=7, timeout=0.3):
            queue.ret_many(held[: seed % 3 and 1], head=bool(seed % 2))
            rest = held[seed % 3 and 1 :]
            assert queue.ack_many(rest) == [True] * len(rest)
            with lock:
                done.extend(message.id for message in rest)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    assert sorted(done) == sorted(names)
    assert (queue.waiting(CHANNEL), queue.running(CHANNEL)) == (0, 0)
