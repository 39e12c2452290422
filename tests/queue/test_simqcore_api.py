"""The stock methods on our queue, without the faults of the stock client."""

from __future__ import annotations

import threading
import time

import pytest

from tests.eventually import eventually
from tests.queue.conftest import CHANNEL


def test_a_message_goes_through_the_stock_methods(queue):
    name = queue.lpush(CHANNEL, {"x": 1})
    message = queue.pop(CHANNEL, worker="w")

    assert (message["id"], message["data"], message["worker"]) == (name, {"x": 1}, "w")
    assert (message["status"], message["channel"]) == ("running", CHANNEL)
    assert queue.ack(name, "result") is True
    assert queue.query(name)["result"] == "result"


def test_rpush_overtakes(queue):
    queue.lpush(CHANNEL, 1, id="a")

    assert queue.rpush(CHANNEL, 1, id="b") == "b"
    assert queue.pop(CHANNEL)["id"] == "b"


def test_pop_returns_none_after_its_timeout(queue):
    assert queue.pop(CHANNEL, timeout=0.05) is None


def test_pop_passes_over_a_canceled_message(queue):
    queue.lpush(CHANNEL, 1, id="a")
    queue.lpush(CHANNEL, 1, id="b")
    queue.cancel("a")

    assert queue.pop(CHANNEL)["id"] == "b"


def test_pop_of_an_unreadable_message_returns_it_without_a_body(queue, raw):
    queue.lpush(CHANNEL, 1, id="a")
    raw.hset("q:item:a", "data", "{broken")

    message = queue.pop(CHANNEL)

    assert (message["id"], message["data"]) == ("a", None)
    assert queue.ack("a") is True


@pytest.mark.parametrize("settle", ["ack", "drop", "ret"])
def test_an_unclaimed_message_cannot_be_settled(queue, settle):
    queue.lpush(CHANNEL, 1, id="a")

    assert getattr(queue, settle)("a") is False
    assert getattr(queue, settle)("unknown") is False
    assert queue.query("a")["status"] == "ready"


@pytest.mark.parametrize("settle", ["ack", "drop"])
def test_settling_twice_gives_the_same_answer(queue, settle):
    queue.lpush(CHANNEL, 1, id="a")
    queue.pop(CHANNEL)

    answers = [getattr(queue, settle)("a"), getattr(queue, settle)("a")]

    assert answers == [True, True]


def test_ret_puts_the_message_at_the_end(queue):
    queue.lpush(CHANNEL, 1, id="a")
    queue.lpush(CHANNEL, 1, id="b")
    queue.pop(CHANNEL)

    assert queue.ret("a", "why") is True

    assert queue.ret("a", "why") is False
    assert [queue.pop(CHANNEL)["id"], queue.pop(CHANNEL)["id"]] == ["b", "a"]


def test_cancel_answers_by_state(queue):
    queue.lpush(CHANNEL, 1, id="a")

    assert queue.cancel("unknown") is False
    assert (queue.cancel("a"), queue.cancel("a")) == (True, True)
    assert queue.pop(CHANNEL, timeout=0) is None
    assert queue.cancel("a") is True
    queue.lpush(CHANNEL, 1, id="a")
    queue.pop(CHANNEL)
    assert queue.cancel("a") is None
    queue.ack("a")
    assert queue.cancel("a") is False


def test_a_cancellation_that_came_too_late_leaves_no_trace(queue):
    queue.lpush(CHANNEL, 1, id="a")
    queue.pop(CHANNEL)
    queue.ack("a")

    queue.cancel("a")

    assert "cancel_flag" not in queue.query("a")


def test_query_of_an_unknown_message_is_none(queue):
    assert queue.query("unknown") is None
    assert queue.query("unknown", timeout=0.05) is None


def test_query_returns_at_once_for_a_finished_message_however_often(queue, claimed):
    queue.ack_many([claimed])
    started = time.monotonic()

    answers = [queue.query("a", timeout=5)["status"] for _ in range(3)]

    assert answers == ["done"] * 3
    assert time.monotonic() - started < 1


def test_query_gives_the_unfinished_message_after_its_timeout(queue, claimed):
    assert queue.query("a", timeout=0.05)["status"] == "running"


def test_query_ignores_the_event_of_an_earlier_push(queue, claimed):
    queue.ack_many([claimed])
    queue.lpush(CHANNEL, 1, id="a")

    assert queue.query("a", timeout=0.05)["status"] == "ready"


def test_a_waiting_query_leaves_the_event_with_its_expiry(queue, claimed, raw):
    waiter = threading.Thread(target=lambda: queue.query("a", timeout=10))
    waiter.start()
    eventually(lambda: raw.info("clients")["blocked_clients"] == 1)

    queue.ack_many([claimed])

    waiter.join()
    assert raw.llen("q:done:a") == 1
    assert raw.ttl("q:done:a") > 0


def test_a_worker_report_expires(queue):
    queue.update_worker_status("w", expire=1)

    status = queue.get_worker_status("w")
    assert status["worker"] == "w"
    assert status["start_time"] == status["update_time"]
    assert status["ttl"] == 1
    eventually(lambda: queue.get_worker_status("w") is None, timeout=3)


def test_a_worker_keeps_its_first_start_time(queue):
    queue.update_worker_status("w")
    first = queue.get_worker_status("w")

    queue.update_worker_status("w")

    second = queue.get_worker_status("w")
    assert second["start_time"] == first["start_time"]
    assert second["update_time"] > first["update_time"]


def test_the_default_worker_is_this_process(queue):
    queue.update_worker_status()

    assert queue.get_worker_status()["worker"] == queue.get_default_worker()


def test_recovery_counts_what_it_settled_in_one_pass(queue, claimed, expire):
    expire()

    assert queue.recovery() == 1
    assert queue.recovery() == 0


def test_recovery_takes_policies_for_one_call(queue, claimed, expire):
    expire()

    assert queue.recovery(CHANNEL, {CHANNEL: {"action": "drop"}}) == 1
    assert queue.query("a")["status"] == "drop"


def test_running_keys_are_listed_per_channel(queue, claimed):
    rkey = queue.get_running_key(CHANNEL, claimed.running_id)

    assert queue.get_running_keys() == {rkey}
    assert queue.get_running_keys(CHANNEL) == {rkey}
    assert queue.get_running_keys("shop") == set()
    assert queue.get_id_from_running_key(rkey) == "a"
    assert queue.get_id_from_running_key("q:running:none") is None


def test_hashes_are_written_as_a_stock_client_reads_them(queue, stock):
    queue.hset("q:item:x", {"a": [1, None], "b": "é\x85"})

    assert stock.hgetall("q:item:x") == {"a": [1, None], "b": "é\x85"}
