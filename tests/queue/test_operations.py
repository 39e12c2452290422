"""The contract of each batch operation."""

from __future__ import annotations

import threading
import time

import pytest
import redis

from django_simpletask3.exceptions import QueueRefused
from django_simpletask3.queue import NO_BODY, UNDECODABLE, Message
from tests.eventually import eventually
from tests.queue.conftest import CHANNEL


def ids(messages):
    return [message.id for message in messages]


def claim_ids(queue, limit=100):
    return ids(queue.claim(CHANNEL, worker="w", lease=60, limit=limit))


def test_messages_come_out_in_the_order_they_were_pushed(queue):
    answers = queue.push(CHANNEL, [("a", 1), ("b", 2), ("c", 3)])

    assert answers == ["pushed"] * 3
    assert claim_ids(queue) == ["a", "b", "c"]


def test_urgent_messages_overtake_and_keep_their_order(queue):
    queue.push(CHANNEL, [("a", 1), ("b", 2)])

    queue.push(CHANNEL, [("x", 1), ("y", 2)], urgent=True)

    assert claim_ids(queue) == ["x", "y", "a", "b"]


def test_a_waiting_message_pushed_as_urgent_moves_to_the_front(queue):
    queue.push(CHANNEL, [("a", 1), ("b", 2)])

    answers = queue.push(CHANNEL, [("b", 2)], urgent=True)

    assert answers == ["queued"]
    assert claim_ids(queue) == ["b", "a"]


def test_a_body_arrives_as_it_was_sent(queue, claim):
    queue.push(CHANNEL, [("a", {"app_label": "shop", "id": 7, "名": "执行\x85\U0001f600"})])

    message = claim()

    assert message.data == {"app_label": "shop", "id": 7, "名": "执行\x85\U0001f600"}
    assert (message.id, message.channel, message.attempt, message.problem) == ("a", CHANNEL, 1, "")


def test_a_message_pushed_twice_waits_once_with_the_newer_body(queue, claim):
    queue.push(CHANNEL, [("a", 1)])

    answers = queue.push(CHANNEL, [("a", 2), ("b", 1), ("b", 2)])

    assert answers == ["queued", "pushed", "queued"]
    assert queue.waiting(CHANNEL) == 2
    assert claim().data == 2


def test_many_waiting_messages_are_recognised_in_one_pass(queue):
    names = [str(number) for number in range(12)]
    queue.push(CHANNEL, [(name, 1) for name in names])

    answers = queue.push(CHANNEL, [(name, 2) for name in names] + [("new", 2)])

    assert answers == ["queued"] * 12 + ["pushed"]
    assert queue.waiting(CHANNEL) == 13


def test_a_batch_larger_than_one_script_is_pushed_claimed_and_finished_whole(queue):
    names = [str(number) for number in range(1203)]

    pushed = queue.push(CHANNEL, ((name, None) for name in names))
    messages = queue.claim(CHANNEL, worker="w", lease=60, limit=2000)
    acked = queue.ack_many(messages)

    assert pushed == ["pushed"] * 1203
    assert ids(messages) == names
    assert acked == [True] * 1203


def test_a_message_pushed_while_it_runs_goes_in_again_after_its_end(queue, claimed, claim):
    answers = queue.push(CHANNEL, [("a", "new")])

    assert answers == ["running"]
    assert claim_ids(queue) == []
    assert queue.ack_many([claimed]) == [True]
    assert claim().data == "new"


def test_a_message_taken_over_runs_elsewhere_and_its_old_claim_is_invalid(queue, claimed, claim):
    answers = queue.push(CHANNEL, [("a", "new")], take_over=True)
    thief = claim()

    assert answers == ["pushed"]
    assert queue.heartbeat("w", [claimed, thief], lease=60) == [claimed]
    assert queue.ack_many([claimed, thief]) == [False, True]


def test_a_body_that_cannot_be_sent_is_refused_before_anything_is_pushed(queue):
    with pytest.raises(TypeError, match="object"):
        queue.push(CHANNEL, [("a", 1), ("b", object())])

    assert queue.waiting(CHANNEL) == 0


def test_a_cancellation_ends_with_the_next_push(queue, claim):
    queue.push(CHANNEL, [("a", 1)])
    queue.cancel("a")

    queue.push(CHANNEL, [("a", 2)])

    assert claim().data == 2


def test_a_finished_message_pushed_again_keeps_no_old_field(queue, claimed, raw):
    queue.ack_many([claimed], {"old": True})

    queue.push(CHANNEL, [("a", 2)])

    fields = queue.query("a")
    assert raw.ttl("q:item:a") == -1
    assert not raw.exists("q:done:a")
    assert set(fields) == {"id", "channel", "add_time", "mod_time", "status", "data"}


def test_a_running_message_without_a_claim_can_be_pushed(queue, claimed, raw):
    raw.delete(queue.get_running_key(CHANNEL, claimed.running_id))

    answers = queue.push(CHANNEL, [("a", 2)])

    assert answers == ["pushed"]
    assert claim_ids(queue) == ["a"]


def test_a_message_whose_list_entry_was_lost_can_be_pushed(queue, raw):
    queue.push(CHANNEL, [("a", 1)])
    raw.delete(queue.get_mq_key(CHANNEL))

    answers = queue.push(CHANNEL, [("a", 1)])

    assert answers == ["pushed"]
    assert claim_ids(queue) == ["a"]


def test_a_claim_takes_no_more_than_its_limit(queue):
    queue.push(CHANNEL, [(str(number), None) for number in range(5)])

    assert claim_ids(queue, limit=3) == ["0", "1", "2"]
    assert (queue.waiting(CHANNEL), queue.running(CHANNEL)) == (2, 3)


def test_a_claim_with_limit_zero_takes_nothing(queue):
    queue.push(CHANNEL, [("a", 1)])

    assert claim_ids(queue, limit=0) == []
    assert queue.waiting(CHANNEL) == 1


def test_an_id_that_is_no_text_can_be_claimed_and_finished(queue, claim, raw):
    raw.lpush(queue.get_mq_key(CHANNEL), b"\xff\xfe")

    message = claim()

    assert message.problem == NO_BODY
    assert queue.heartbeat("w", [message], lease=60) == []
    assert queue.ret_many([message]) == [True]
    assert queue.drop_many([claim()]) == [True]


def test_a_claim_is_known_by_message_and_token(queue, claimed, claim):
    queue.ret_many([claimed])

    assert len({claimed, claimed, claim()}) == 2


def test_a_claim_without_messages_returns_at_once_and_leaves_nothing(queue, raw):
    started = time.monotonic()

    assert claim_ids(queue) == []

    assert time.monotonic() - started < 0.5
    assert list(raw.scan_iter("*")) == []


def test_a_waiting_claim_gives_up_after_its_timeout_and_leaves_nothing(queue, raw):
    started = time.monotonic()

    messages = queue.claim(CHANNEL, worker="w", lease=60, timeout=0.3)

    assert messages == []
    assert 0.25 < time.monotonic() - started < 1
    assert list(raw.scan_iter("*")) == []


def test_an_expired_body_is_delivered_as_an_id_that_can_be_finished(queue, claim, raw):
    queue.push(CHANNEL, [("a:'\"\\é", 1)])
    raw.delete("q:item:a:'\"\\é")

    message = claim()

    assert (message.id, message.data, message.problem) == ("a:'\"\\é", None, NO_BODY)
    assert queue.query(message.id)["id"] == message.id
    assert queue.ret_many([message]) == [True]
    assert queue.ack_many([claim()]) == [True]


@pytest.mark.parametrize("text", ["{", "!!python/object:os.x {}", "\xff", "[" * 3000, "'"])
def test_a_broken_body_is_reported_and_stops_no_other_message(queue, raw, text):
    queue.push(CHANNEL, [("a", 1), ("b", 2)])
    raw.hset("q:item:a", "data", text.encode("latin-1"))

    broken, sound = queue.claim(CHANNEL, worker="w", lease=60, limit=2)

    assert (broken.id, broken.problem, broken.data) == ("a", UNDECODABLE, None)
    assert sound.data == 2
    assert queue.ack_many([broken, sound]) == [True, True]


def test_a_canceled_message_is_finished_and_passed_over(queue, raw):
    queue.push(CHANNEL, [("a", 1), ("b", 2)])
    queue.cancel("a")

    assert claim_ids(queue) == ["b"]
    assert queue.query("a")["status"] == "canceled"
    assert raw.ttl("q:item:a") > 0
    assert raw.llen("q:done:a") == 1


def test_a_second_entry_of_a_running_message_is_skipped(queue, claimed, raw):
    raw.lpush(queue.get_mq_key(CHANNEL), "a")

    assert claim_ids(queue) == []
    assert queue.waiting(CHANNEL) == 0
    assert queue.ack_many([claimed]) == [True]


def test_an_entry_of_a_finished_message_is_skipped(queue, claimed, raw):
    queue.ack_many([claimed])
    raw.lpush(queue.get_mq_key(CHANNEL), "a")

    assert claim_ids(queue) == []


def test_each_claim_counts_as_an_attempt(queue, claimed, claim):
    queue.ret_many([claimed])

    second = claim()

    assert (claimed.attempt, second.attempt) == (1, 2)
    assert second.running_id != claimed.running_id


def test_an_acknowledged_message_is_done_and_expires(queue, claimed, raw):
    assert queue.ack_many([claimed], {"n": 1}) == [True]

    fields = queue.query("a")
    assert (fields["status"], fields["result"]) == ("done", {"n": 1})
    assert 0 < raw.ttl("q:item:a") <= queue.done_item_expire
    assert 0 < raw.ttl("q:done:a") <= queue.ack_event_expire
    assert queue.running(CHANNEL) == 0
    assert not list(raw.scan_iter("q:running:*"))
    assert raw.zcard("q:x:leases") == 0


def test_a_finished_message_has_one_event_whatever_was_there_before(queue, claimed, raw):
    raw.lpush("q:done:a", "a", "a")

    queue.ack_many([claimed])

    assert raw.llen("q:done:a") == 1


def test_a_dropped_message_ends_without_a_result(queue, claimed, raw):
    assert queue.drop_many([claimed]) == [True]

    fields = queue.query("a")
    assert (fields["status"], fields["result"]) == ("drop", None)
    assert raw.ttl("q:item:a") > 0
    assert raw.llen("q:done:a") == 1


@pytest.mark.parametrize("settle", ["ack_many", "drop_many", "ret_many"])
def test_an_invalid_claim_settles_nothing(queue, claimed, claim, settle):
    queue.ret_many([claimed])
    holder = claim()

    answers = getattr(queue, settle)([claimed])

    assert answers == ([True] if settle == "ret_many" else [False])
    assert queue.heartbeat("w", [holder], lease=60) == []
    assert queue.waiting(CHANNEL) == 0
    assert queue.ack_many([holder]) == [True]


def test_a_message_that_was_acknowledged_cannot_be_given_back(queue, claimed):
    queue.ack_many([claimed])

    assert queue.ret_many([claimed]) == [False]
    assert queue.drop_many([claimed]) == [False]
    assert queue.query("a")["status"] == "done"


def test_a_message_whose_body_expired_while_it_ran_can_still_be_acknowledged(queue, claimed, raw):
    raw.delete("q:item:a")

    assert queue.heartbeat("w", [claimed], lease=60) == []
    assert queue.ack_many([claimed]) == [True]
    assert not raw.exists("q:item:a")
    assert queue.running(CHANNEL) == 0


def test_returned_messages_are_the_next_in_their_old_order(queue):
    queue.push(CHANNEL, [("a", 1), ("b", 2), ("c", 3)])
    held = queue.claim(CHANNEL, worker="w", lease=60, limit=2)

    assert queue.ret_many(held, "stopping") == [True, True]

    assert queue.query("a")["return_reason"] == "stopping"
    assert claim_ids(queue) == ["a", "b", "c"]


def test_messages_returned_to_the_end_wait_for_the_others(queue):
    queue.push(CHANNEL, [("a", 1), ("b", 2), ("c", 3)])
    held = queue.claim(CHANNEL, worker="w", lease=60, limit=2)

    queue.ret_many(held, head=False)

    assert claim_ids(queue) == ["c", "a", "b"]


def test_a_message_canceled_while_it_runs_ends_when_it_is_returned(queue, claimed):
    assert queue.cancel("a") is None

    assert queue.ret_many([claimed]) == [True]

    assert queue.waiting(CHANNEL) == 0
    assert queue.query("a")["status"] == "canceled"


def test_a_message_canceled_while_it_runs_may_still_finish(queue, claimed):
    queue.cancel("a")

    assert queue.ack_many([claimed]) == [True]
    assert queue.query("a")["status"] == "done"


def test_a_dead_lettered_message_is_kept_among_the_dead_letters(queue, claimed):
    assert queue.dead_letter(claimed, "no such task") is True
    assert queue.dead_letter(claimed, "no such task") is True

    [letter] = queue.dead_letters(CHANNEL)
    assert letter.pop("time") > 0
    assert letter == {
        "id": "a",
        "channel": CHANNEL,
        "reason": "no such task",
        "data": {"id": 7},
        "priority": 0,
    }
    assert queue.query("a")["status"] == "drop"


def test_one_dead_letter_is_pushed_again_and_the_others_stay(queue):
    queue.push(CHANNEL, [(name, {"id": name}) for name in "abc"])
    for message in queue.claim(CHANNEL, worker="w", lease=60, limit=3):
        queue.dead_letter(message, "no such task")

    found = [queue.requeue_dead_letter(CHANNEL, name) for name in ("b", "b", "unknown")]

    assert found == [True, False, False]
    assert [letter["id"] for letter in queue.dead_letters(CHANNEL)] == ["c", "a"]
    assert claim_ids(queue) == ["b"]


def test_the_newest_ten_thousand_dead_letters_are_kept(queue, claimed, raw):
    key = queue.get_dead_key(CHANNEL)
    raw.lpush(key, *["{}"] * 10_000)

    queue.dead_letter(claimed, "one more")

    assert raw.llen(key) == 10_000
    assert queue.dead_letters(CHANNEL, limit=1)[0]["reason"] == "one more"


def test_a_lost_claim_adds_no_dead_letter(queue, claimed):
    queue.ret_many([claimed])

    assert queue.dead_letter(claimed, "late") is False
    assert queue.dead_letters(CHANNEL) == []


def test_a_heartbeat_renews_leases_and_the_workers_status(queue, claimed, raw):
    raw.zadd("q:x:leases", {queue.get_running_key(CHANNEL, claimed.running_id): 1})

    assert queue.heartbeat("w", [claimed], lease=60) == []

    assert sum(queue.recover().values()) == 0
    assert queue.get_worker_status("w")["ttl"] > 0


def test_a_heartbeat_returns_the_lost_claims(queue, claimed, claim):
    queue.push(CHANNEL, [("b", 1)])
    kept = claim()
    queue.cancel_many(CHANNEL, ["a"])

    assert queue.heartbeat("w", [claimed, kept], lease=60) == [claimed]


def test_a_heartbeat_without_messages_reports_the_worker_alive(queue):
    assert queue.heartbeat("w", [], lease=60) == []

    assert queue.get_worker_status("w")["worker"] == "w"


@pytest.mark.parametrize("state", ["waiting", "running", "canceling", "unknown"])
def test_cancel_many_cancels_a_message_in_any_unfinished_state(queue, claim, raw, state):
    if state != "unknown":
        queue.push(CHANNEL, [("a", 1)])
    if state == "running":
        claim()
    if state == "canceling":
        queue.cancel("a")

    queue.cancel_many(CHANNEL, ["a"])

    assert (queue.waiting(CHANNEL), queue.running(CHANNEL)) == (0, 0)
    assert queue.query("a")["status"] == "canceled"
    assert raw.ttl("q:item:a") > 0
    assert raw.llen("q:done:a") == 1


def test_cancel_many_does_not_change_a_finished_message(queue, claimed):
    queue.ack_many([claimed])

    queue.cancel_many(CHANNEL, ["a"])

    assert queue.query("a")["status"] == "done"


def test_a_message_canceled_by_cancel_many_can_be_pushed_again(queue, claimed, claim):
    queue.cancel_many(CHANNEL, ["a"])

    assert queue.push(CHANNEL, [("a", 2)]) == ["pushed"]
    assert claim().data == 2


def test_cancel_many_leaves_entries_of_a_long_queue_that_claims_skip(queue, raw):
    queue.push(CHANNEL, [(str(number), None) for number in range(600)])
    raw.rpush(queue.get_mq_key(CHANNEL), *["x"] * 2000)

    queue.cancel_many(CHANNEL, [str(number) for number in range(499)] + ["x"])

    assert queue.waiting(CHANNEL) == 2600
    assert [queue.query(name)["status"] for name in ("0", "x")] == ["canceled"] * 2
    remaining = [name for _ in range(4) for name in claim_ids(queue, limit=500)]
    assert remaining == [str(number) for number in range(499, 600)]


def test_wake_ends_a_wait(queue, raw):
    taken = []
    waiter = threading.Thread(
        target=lambda: taken.append(queue.claim(CHANNEL, worker="w", lease=60, timeout=30))
    )
    waiter.start()
    eventually(lambda: raw.info("clients")["blocked_clients"])

    queue.wake()

    waiter.join(10)
    assert taken == [[]]
    queue.push(CHANNEL, [("a", 1)])
    assert claim_ids(queue) == ["a"]


def test_an_urgent_message_pushed_twice_is_queued_once(queue):
    queue.push(CHANNEL, [("a", 1), ("b", 1)])

    answers = queue.push(CHANNEL, [("c", 1), ("b", 2), ("c", 2)], urgent=True)

    assert answers == ["queued", "queued", "pushed"]
    assert queue.waiting(CHANNEL) == 3
    assert sorted(claim_ids(queue)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("settle", "end"), [("ack_many", ("done", True)), ("drop_many", ("drop", None))]
)
def test_a_finished_message_keeps_its_outcome(queue, claimed, raw, settle, end):
    getattr(queue, settle)([claimed])

    fields = queue.query("a")
    assert set(fields) == {"status", "result", "x_"}
    assert (fields["status"], fields["result"]) == end
    assert raw.hget("q:item:a", "x_").decode() == claimed.running_id[:6]


@pytest.mark.parametrize("settle", ["ack_many", "drop_many", "ret_many"])
def test_an_invalid_claim_settles_nothing_that_another_claim_finished(
    queue, claimed, claim, settle
):
    queue.push(CHANNEL, [("a", 2)], take_over=True)
    queue.ack_many([claim()])

    assert getattr(queue, settle)([claimed]) == [False]
    assert queue.heartbeat("w", [claimed], lease=60) == [claimed]
    assert queue.query("a")["status"] == "done"


def test_a_claim_ended_by_recovery_gets_that_outcome(queue, claimed, expire):
    expire()
    queue.recover(policies={CHANNEL: {"action": "drop"}})

    assert queue.drop_many([claimed]) == [True]
    assert queue.ack_many([claimed]) == [False]
    assert queue.ret_many([claimed]) == [False]


def test_a_message_canceled_by_cancel_many_while_it_runs_cannot_be_settled(queue, claimed):
    queue.cancel_many(CHANNEL, ["a"])

    assert queue.ret_many([claimed]) == [False]
    assert queue.ack_many([claimed]) == [False]
    assert queue.drop_many([claimed]) == [False]
    assert queue.query("a") == {"status": "canceled", "result": None}


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.MovedError("7000 10.0.0.2:6379"),
        redis.exceptions.AskError("7000 10.0.0.2:6379"),
        redis.exceptions.ClusterDownError("CLUSTERDOWN Hash slot not served"),
    ],
)
def test_a_redis_cluster_is_named(queue, error):
    with pytest.raises(QueueRefused, match="Redis Cluster, which is not supported"):
        with queue.translate_errors():
            raise error


def test_who_waits_for_a_message_that_is_forgotten_waits_for_the_end_of_its_task(queue, claimed):
    assert queue.forget_many([claimed]) == [True]
    assert queue.query("a") is None
    assert not queue.db.exists(queue.get_done_key("a"))

    ended = Message("a", CHANNEL, "", None)
    assert queue.ack_many([ended], result=True) == [True]

    fields = queue.query("a", timeout=60)
    assert (fields["status"], fields["result"]) == ("done", True)


@pytest.mark.parametrize("is_claimed", [False, True])
def test_the_end_of_a_task_that_ran_without_its_message_leaves_that_alone(queue, is_claimed):
    queue.push(CHANNEL, [("a", {})])
    if is_claimed:
        queue.claim(CHANNEL, worker="w1", lease=60)

    assert queue.ack_many([Message("a", CHANNEL, "", None)]) == [False]

    assert queue.query("a")["status"] == ("running" if is_claimed else "ready")


def test_a_message_that_was_pushed_again_is_not_forgotten(queue, claimed):
    queue.push(CHANNEL, [("a", {})])

    assert queue.forget_many([claimed]) == [True]

    assert queue.query("a")["status"] == "ready"
    assert queue.waiting(CHANNEL) == 1
