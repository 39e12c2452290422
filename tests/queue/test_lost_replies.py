"""Lost replies: repeating an operation changes nothing and returns the same."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from django_simpletask3.exceptions import QueueUnavailable
from django_simpletask3.queue import Waiter
from django_simpletask3.queue.scripts import script
from tests.eventually import eventually
from tests.queue.conftest import CHANNEL, snapshot
from tests.queue.proxy import Proxy

TOKEN = "0f3e5a52-8a0f-4a8e-9d5e-1d7f0c1b2a3c"


@pytest.fixture
def proxy(server):
    running = Proxy(server.socket)
    yield running
    running.close()


@pytest.fixture
def far(proxy, make_queue, queue):
    """A queue behind the proxy; the server has cached the scripts."""
    far = make_queue(proxy.url)
    far.push("warm", [("warm", 1)])
    held = far.claim("warm", worker="warm", lease=60)
    far.heartbeat("warm", held, lease=60)
    far.ret_many(held)
    far.ack_many(far.claim("warm", worker="warm", lease=60))
    far.recover()
    far.cancel("none")
    far.cancel_many("warm", ["none"])
    queue.db.flushdb()
    return far


def lose(proxy, name):
    proxy.lose(script(name).sha)


def run_twice(call, raw):
    """The results of two identical calls, and whether the second changed nothing."""
    first = call()
    before = snapshot(raw)
    return first, call(), snapshot(raw) == before


@pytest.mark.parametrize(
    ("call", "again"),
    [
        (lambda q, m: q.push(CHANNEL, [("b", 1)]), ["queued"]),
        (lambda q, m: q.push(CHANNEL, [("a", 1)]), ["running"]),
        (lambda q, m: q.push(CHANNEL, [("b", 1)], priorities={"b": 5}), ["queued"]),
        (lambda q, m: q.push(CHANNEL, [("b", 1)], priorities={"b": 5}, urgent=True), ["queued"]),
        (lambda q, m: q.push_hints(CHANNEL, [("b", 9.0)]), None),
        (lambda q, m: q.ack_many([m], {"n": 1}), [True]),
        (lambda q, m: q.drop_many([m]), [True]),
        (lambda q, m: q.ret_many([m]), [True]),
        (lambda q, m: q.ret_many([m], head=False), [True]),
        (lambda q, m: q.dead_letter(m, "x"), True),
        (lambda q, m: q.heartbeat("w", [m], lease=60), []),
        (lambda q, m: q.cancel_many(CHANNEL, ["a"]), None),
        (lambda q, m: q.cancel("a"), None),
        (lambda q, m: sum(q.recover().values()), 0),
        (lambda q, m: q.adopt(), 0),
    ],
    ids=[
        "push",
        "push-running",
        "push-priority",
        "push-priority-urgent",
        "push_hints",
        "ack",
        "drop",
        "ret",
        "ret-end",
        "dead_letter",
        "heartbeat",
        "cancel_many",
        "cancel",
        "recover",
        "adopt",
    ],
)
def test_every_operation_is_idempotent(queue, claimed, raw, call, again):
    _, second, unchanged = run_twice(lambda: call(queue, claimed), raw)

    assert second == again
    assert unchanged


@pytest.mark.parametrize("settle", ["ack_many", "drop_many"])
def test_settling_a_message_that_was_pushed_again_queues_it_once(queue, claimed, raw, settle):
    queue.push(CHANNEL, [("a", 2)])

    first, second, unchanged = run_twice(lambda: getattr(queue, settle)([claimed]), raw)

    assert (first, second, unchanged) == ([True], [True], True)
    assert queue.waiting(CHANNEL) == 1


def test_a_repeated_ack_succeeds_after_the_next_claim(queue, claimed, claim):
    queue.push(CHANNEL, [("a", 2)])
    queue.ack_many([claimed])
    claim()

    assert queue.ack_many([claimed]) == [True]
    assert queue.running(CHANNEL) == 1


@pytest.mark.parametrize("priorities", [{}, {"a": 1, "b": -1}, {"a": 1}])
def test_the_same_token_claims_the_same_messages(queue, raw, priorities):
    queue.push(CHANNEL, [("a", 1), ("b", 2)], priorities=priorities)
    claim_two = partial(queue.claim_rows, CHANNEL, "w", 60, Waiter(TOKEN), limit=2)
    claim_two()

    first, second, unchanged = run_twice(claim_two, raw)

    assert first == second
    assert [row[0] for row in second] == [b"a", b"b"]
    assert unchanged


@pytest.mark.parametrize("gone", ["a", "b", "c"])
def test_the_same_token_claims_what_is_left_of_the_same_messages(queue, raw, gone):
    queue.push(CHANNEL, [(name, name) for name in "abcdef"])
    claim_three = partial(queue.claim_rows, CHANNEL, "w", 60, Waiter(TOKEN), limit=3)
    before = {row[0].decode(): row[1] for row in claim_three()}
    queue.cancel_many(CHANNEL, [gone])

    rows = claim_three()

    found = {row[0].decode(): row[1] for row in rows}
    assert found.keys() == {*"abcd"} - {gone}
    assert all(found[name] == before[name] for name in found.keys() & before.keys())
    for _, token, *_ in rows:
        assert raw.llen(queue.get_running_key(CHANNEL, token.decode())) == 1


def test_a_lost_reply_to_a_claim_loses_no_message(far, proxy):
    far.push(CHANNEL, [("a", 1), ("b", 2)])
    lose(proxy, "claim")

    messages = far.claim(CHANNEL, worker="w", lease=60, limit=2)

    assert [message.id for message in messages] == ["a", "b"]
    assert far.ack_many(messages) == [True, True]
    assert (proxy.lost, far.running(CHANNEL)) == (1, 0)


def test_a_lost_reply_to_a_blocking_move_loses_no_message(far, proxy, queue, raw):
    proxy.lose("BLMOVE")
    messages = []
    waiter = threading.Thread(
        target=lambda: messages.extend(far.claim(CHANNEL, worker="w", lease=60, timeout=5))
    )
    waiter.start()
    eventually(lambda: raw.info("clients")["blocked_clients"] == 1)

    queue.push(CHANNEL, [("a", 1), ("b", 1)])

    waiter.join()
    assert [message.id for message in messages] == ["a"]
    assert (proxy.lost, far.waiting(CHANNEL)) == (1, 1)
    assert far.ack_many(messages) == [True]


@pytest.mark.parametrize(
    ("settle", "name"), [("ack_many", "settle"), ("drop_many", "settle"), ("ret_many", "give_back")]
)
def test_settling_is_repeated_after_a_lost_reply(far, proxy, settle, name):
    far.push(CHANNEL, [("a", 1)])
    messages = far.claim(CHANNEL, worker="w", lease=60)
    lose(proxy, name)

    assert getattr(far, settle)(messages) == [True]

    assert proxy.lost == 1
    assert far.waiting(CHANNEL) == (1 if settle == "ret_many" else 0)


def test_a_heartbeat_is_repeated_after_a_lost_reply(far, proxy):
    far.push(CHANNEL, [("a", 1)])
    messages = far.claim(CHANNEL, worker="w", lease=60)
    lose(proxy, "heartbeat")

    assert far.heartbeat("w", messages, lease=60) == []
    assert proxy.lost == 1


def test_a_push_is_tried_once_and_can_be_repeated_by_the_caller(far, proxy):
    lose(proxy, "push")

    with pytest.raises(QueueUnavailable):
        far.push(CHANNEL, [("a", 1)])

    assert far.push(CHANNEL, [("a", 1)]) == ["queued"]
    assert far.waiting(CHANNEL) == 1


def test_the_second_of_two_moves_with_one_token_is_returned(queue, raw):
    queue.push(CHANNEL, [("a", 1), ("b", 2), ("c", 3)])
    for _ in range(3):
        raw.rpoplpush(queue.get_mq_key(CHANNEL), queue.get_running_key(CHANNEL, "t"))

    [row] = queue.claim_rows(CHANNEL, "w", 60, Waiter("t"))

    rest = queue.claim(CHANNEL, worker="w", lease=60, limit=5)
    assert {row[0].decode(), *(message.id for message in rest)} == {"a", "b", "c"}
    assert raw.llen(queue.get_running_key(CHANNEL, "t")) == 1


def test_returning_a_message_that_was_canceled_meanwhile_ends_it_once(queue, claimed, raw):
    queue.cancel("a")

    first, second, unchanged = run_twice(lambda: queue.ret_many([claimed]), raw)

    assert (first, second, unchanged) == ([True], [True], True)
    assert queue.query("a")["status"] == "canceled"


@pytest.mark.parametrize("status", ["done", "drop"])
@pytest.mark.parametrize("remembered", ["running_id", "x_settled"])
def test_a_message_finished_by_an_earlier_version_is_finished(
    queue, claimed, raw, status, remembered
):
    """Earlier versions kept the whole message, with the claim in two fields."""
    claim = claimed.running_id
    words = {"running_id": claim, "x_settled": f"{status} {claim}"}
    raw.delete("q:item:a", queue.get_running_key(CHANNEL, claim))
    raw.hset("q:item:a", mapping={"status": status, "data": "1", remembered: words[remembered]})

    settle = queue.ack_many if status == "done" else queue.drop_many
    assert settle([claimed]) == [True]

    assert raw.hget("q:item:a", "data") == b"1"
    assert queue.waiting(CHANNEL) == 0
