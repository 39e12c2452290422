"""The published ``simqcore`` client and ours on one queue, in both directions."""

from __future__ import annotations

import threading

import pytest
import yaml

from tests.eventually import eventually
from tests.queue.conftest import CHANNEL

DATA = {"app_label": "shop", "model_name": "invoice", "id": 7, "名": "执行 \U0001f600\x85 1e+22"}


@pytest.fixture
def one_pass_old(stock):
    """A stock client that has made the first of the two passes its recovery needs."""
    stock.recovery()
    return stock


def test_we_take_and_finish_what_a_stock_client_pushed(queue, stock, claim):
    stock.lpush(CHANNEL, DATA, id="a")

    message = claim()
    queue.ack_many([message], {"n": 1})

    assert (message.data, message.problem) == (DATA, "")
    answer = stock.query("a", timeout=1)
    assert (answer["status"], answer["result"]) == ("done", {"n": 1})


def test_a_stock_client_takes_and_finishes_what_we_pushed(queue, stock):
    queue.push(CHANNEL, [("a", DATA)])

    message = stock.pop(CHANNEL, timeout=1)
    stock.ack("a", True)

    assert message["data"] == DATA
    assert queue.query("a", timeout=1)["status"] == "done"
    assert (queue.waiting(CHANNEL), queue.running(CHANNEL)) == (0, 0)


def test_both_clients_keep_the_same_order(queue, stock):
    stock.lpush(CHANNEL, 1, id="a")
    queue.push(CHANNEL, [("b", 2)])
    stock.rpush(CHANNEL, 0, id="first")

    taken = [queue.pop(CHANNEL)["id"], stock.pop(CHANNEL)["id"], queue.pop(CHANNEL)["id"]]

    assert taken == ["first", "a", "b"]


def test_a_stock_cancellation_reaches_us(queue, stock):
    queue.push(CHANNEL, [("a", 1)])

    assert stock.cancel("a") is True

    assert queue.claim(CHANNEL, worker="w", lease=60) == []
    assert stock.query("a")["status"] == "canceled"


def test_a_stock_cancellation_of_what_we_run_counts_whatever_its_clock_says(queue, stock, claimed):
    stock.cancel("a")
    stock.hset("q:item:a", {"cancel_time": 1.5})

    assert queue.ret_many([claimed]) == [True]

    assert stock.query("a")["status"] == "canceled"


def test_our_cancellation_reaches_a_stock_client(queue, stock):
    stock.lpush(CHANNEL, 1, id="a")

    assert queue.cancel("a") is True

    assert stock.pop(CHANNEL, timeout=1) is None
    assert queue.query("a")["status"] == "canceled"


def test_a_stock_push_after_a_cancellation_runs(queue, stock, claim):
    stock.lpush(CHANNEL, 1, id="a")
    stock.cancel("a")
    claim_nothing = queue.claim(CHANNEL, worker="w", lease=60)

    stock.lpush(CHANNEL, 2, id="a")

    assert claim_nothing == []
    assert claim().data == 2


def test_our_push_after_a_stock_cancellation_runs_at_a_stock_client(queue, stock):
    stock.lpush(CHANNEL, 1, id="a")
    stock.cancel("a")

    queue.push(CHANNEL, [("a", 2)])

    assert stock.pop(CHANNEL, timeout=1)["data"] == 2


@pytest.mark.parametrize("settle", ["ack", "drop", "ret"])
def test_a_stock_client_settles_what_we_took(queue, stock, claimed, raw, settle):
    assert getattr(stock, settle)("a") is True

    assert queue.heartbeat("w", [claimed], lease=60) == [claimed]
    assert not list(raw.scan_iter("q:running:*"))


@pytest.mark.parametrize(
    ("settle", "status"), [("ack", "done"), ("drop", "drop"), ("ret", "ready")]
)
def test_we_settle_what_a_stock_client_took(queue, stock, raw, settle, status):
    stock.lpush(CHANNEL, 1, id="a")
    stock.pop(CHANNEL, timeout=1)

    assert getattr(queue, settle)("a") is True

    assert stock.query("a")["status"] == status
    assert not list(raw.scan_iter("q:running:*"))


def test_a_stock_client_claims_a_message_that_we_returned(queue, stock, claimed):
    queue.ret_many([claimed], "stopping")

    message = stock.pop(CHANNEL, timeout=1)

    assert (message["return_reason"], message["retry_count"]) == ("stopping", 1)


def test_a_stock_recovery_leaves_a_reporting_worker_alone(queue, one_pass_old, claimed):
    queue.heartbeat("w", [claimed], lease=60)
    one_pass_old.recovery()

    one_pass_old.recovery()

    assert queue.heartbeat("w", [claimed], lease=60) == []


def test_a_stock_recovery_counts_from_the_last_heartbeat(queue, stock, claimed):
    stock.hset("q:item:a", {"start_time": 1.5})
    queue.heartbeat("w", [claimed], lease=60)
    stock.recovery()

    stock.recovery()

    assert queue.ack_many([claimed]) == [True]


def test_a_claim_lifts_the_expiry_that_a_stock_push_leaves_behind(
    queue, stock, claimed, claim, raw
):
    queue.ack_many([claimed])
    stock.lpush(CHANNEL, 2, id="a")

    claim()

    assert raw.ttl("q:item:a") == -1


def test_a_fresh_claim_is_safe_from_a_stock_recovery_before_its_first_heartbeat(
    queue, stock, claimed
):
    stock.recovery()

    stock.recovery()

    assert queue.ack_many([claimed]) == [True]


def test_a_stock_recovery_returns_what_we_abandoned(queue, stock, claimed, raw, claim):
    raw.delete("q:worker:w")
    stock.recovery()

    stock.recovery()

    assert claim().id == "a"
    assert queue.ack_many([claimed]) == [False]


def adopted_and_expired(queue, expire):
    assert queue.adopt() == 1
    expire()
    return queue.recover()


def test_our_recovery_returns_what_a_dead_stock_client_held(queue, stock, expire, claim):
    stock.lpush(CHANNEL, 1, id="a")
    stock.pop(CHANNEL, timeout=1)

    counts = adopted_and_expired(queue, expire)

    assert counts["returned"] == 1
    assert claim().id == "a"


def test_our_recovery_leaves_a_reporting_stock_client_alone(queue, stock, expire):
    stock.lpush(CHANNEL, 1, id="a")
    stock.pop(CHANNEL, worker="stock", timeout=1)
    stock.update_worker_status("stock")

    counts = adopted_and_expired(queue, expire)

    assert counts["kept"] == 1
    assert queue.recover()["returned"] == 0
    assert stock.query("a")["status"] == "running"


def test_our_recovery_waits_for_the_running_timeout_of_a_silent_stock_client(queue, stock):
    stock.lpush(CHANNEL, 1, id="a")
    stock.pop(CHANNEL, timeout=1)

    assert queue.recovery() == 0
    assert queue.recovery() == 0
    assert stock.ack("a") is True


def test_our_recovery_finds_a_stock_client_that_died_after_its_move(queue, raw, expire, claim):
    queue.push(CHANNEL, [("a", 1)])
    raw.brpoplpush("q:mq:" + CHANNEL, f"q:running:{CHANNEL}:token", 1)

    counts = adopted_and_expired(queue, expire)

    assert counts["returned"] == 1
    assert claim().data == 1


def test_two_messages_in_one_running_key_are_both_recovered(queue, raw, expire):
    queue.push(CHANNEL, [("a", 1), ("b", 2)])
    for _ in "ab":
        raw.brpoplpush("q:mq:" + CHANNEL, f"q:running:{CHANNEL}:token", 1)

    counts = adopted_and_expired(queue, expire)

    assert counts["returned"] == 2
    assert queue.waiting(CHANNEL) == 2


def test_half_a_stock_push_is_missing_and_can_be_pushed(queue, stock, claim):
    stock.hset("q:item:a", {"id": "a", "channel": CHANNEL, "status": "ready", "data": 1})

    assert queue.missing(CHANNEL, ["a"]) == ["a"]
    assert queue.push(CHANNEL, [("a", 1)]) == ["pushed"]
    assert claim().data == 1


def test_half_a_stock_return_is_missing_and_can_be_pushed(queue, stock, raw, claim):
    stock.lpush(CHANNEL, 1, id="a")
    running = stock.pop(CHANNEL, timeout=1)
    raw.delete(stock.get_running_key(CHANNEL, running["running_id"]))

    assert queue.missing(CHANNEL, ["a"]) == ["a"]
    assert queue.push(CHANNEL, [("a", 1)]) == ["pushed"]
    assert claim().data == 1


def test_a_claim_held_by_a_stock_client_is_not_missing(queue, stock):
    stock.lpush(CHANNEL, 1, id="a")
    stock.pop(CHANNEL, timeout=1)

    assert queue.missing(CHANNEL, ["a"]) == []
    assert queue.push(CHANNEL, [("a", 1)]) == ["running"]


def test_every_field_we_write_is_read_by_a_stock_client(queue, stock, claimed, raw):
    queue.cancel("a")
    queue.ret_many([claimed], "because: 'x'\n\x85")
    queue.push(CHANNEL, [("b'\"é", 1)])
    raw.delete("q:item:b'\"é")
    queue.claim(CHANNEL, worker="w'\né", lease=60)

    for key in [*raw.scan_iter("q:item:*"), *raw.scan_iter("q:worker:*")]:
        for value in raw.hgetall(key).values():
            yaml.safe_load(value)
    assert stock.query("b'\"é")["id"] == "b'\"é"
    assert stock.query("b'\"é")["worker"] == "w'\né"
    assert stock.query("a")["return_reason"] == "because: 'x'\n\x85"


def test_a_stock_waiter_and_ours_both_wake(queue, stock, claimed):
    answers = []
    waiters = [
        threading.Thread(target=lambda: answers.append(queue.query("a", timeout=10))),
        threading.Thread(target=lambda: answers.append(queue.query("a", timeout=10))),
        threading.Thread(target=lambda: answers.append(stock.query("a", timeout=10))),
    ]
    for waiter in waiters:
        waiter.start()
    eventually(lambda: stock.db.info("clients")["blocked_clients"] == 3)

    queue.ack_many([claimed])

    for waiter in waiters:
        waiter.join()
    assert [answer["status"] for answer in answers] == ["done"] * 3


def test_a_stock_client_can_say_again_what_became_of_what_we_finished(queue, stock, claimed):
    queue.ack_many([claimed])

    assert stock.cancel("a") is False
    assert stock.ret("a") is False
    assert stock.ack("a", "again") is True
    assert stock.query("a", timeout=1)["result"] == "again"
    assert stock.drop("a") is True
    assert stock.query("a", timeout=1)["status"] == "drop"


def test_a_stock_push_of_what_we_finished_is_a_whole_message_again(queue, stock, claimed, claim):
    queue.ack_many([claimed])

    stock.lpush(CHANNEL, DATA, id="a")

    message = stock.pop(CHANNEL, timeout=1)
    assert (message["id"], message["channel"], message["data"]) == ("a", CHANNEL, DATA)
    assert stock.ret("a") is True
    ours = claim()
    assert (ours.data, ours.problem) == (DATA, "")
    assert queue.ack_many([claimed, ours]) == [False, True]


@pytest.mark.parametrize("way", ["claim", "return", "recover"])
def test_a_stock_client_passes_over_an_entry_of_what_we_canceled(queue, stock, raw, expire, way):
    queue.push(CHANNEL, [("a", 1)])
    if way == "claim":
        queue.cancel("a")
    held = queue.claim(CHANNEL, worker="w", lease=60)
    if way != "claim":
        queue.cancel("a")
    if way == "return":
        queue.ret_many(held)
    if way == "recover":
        expire()
        queue.recover()
    raw.lpush(queue.get_mq_key(CHANNEL), "a")

    assert stock.pop(CHANNEL, timeout=1) is None

    assert stock.query("a", timeout=1)["status"] == "canceled"
    assert not list(raw.scan_iter("q:running:*"))


def test_a_stock_client_passes_over_what_was_withdrawn_from_a_deep_queue(queue, stock, raw):
    queue.push(CHANNEL, [("a", 1)])
    raw.lpush(queue.get_mq_key(CHANNEL), *["x"] * 2001)

    queue.cancel_many(CHANNEL, ["a", *["x"] * 499])

    assert stock.pop(CHANNEL, timeout=1) is None
    assert stock.query("a")["status"] == "canceled"
    assert not list(raw.scan_iter("q:running:*"))
