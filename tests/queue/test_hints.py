"""Hints of tasks that are due soon reach a worker through its claim."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from django_simpletask3.queue import Waiter
from tests.eventually import eventually
from tests.queue.conftest import CHANNEL, PREFIX

DUE = f"{PREFIX}:x:due:{CHANNEL}"


@pytest.fixture
def hints():
    """The seconds that the waiter's callback was given."""
    return []


@pytest.fixture
def waiter(hints):
    return Waiter(on_hint=hints.extend)


def claim(queue, waiter, **options):
    messages = queue.claim(CHANNEL, worker="w", lease=60, limit=10, waiter=waiter, **options)
    return [message.id for message in messages]


def test_a_claim_passes_on_when_tasks_are_due(queue, waiter, hints):
    queue.push_hints(CHANNEL, [("b", 7.0), ("a", 3.0)])

    assert claim(queue, waiter) == []
    assert hints == pytest.approx([3.0, 7.0], abs=0.5)


def test_a_claim_that_finds_messages_passes_it_on_too(queue, waiter, hints):
    queue.push_hints(CHANNEL, [("a", 3.0)])
    queue.push(CHANNEL, [("b", 1)])

    assert claim(queue, waiter) == ["b"]
    assert hints == pytest.approx([3.0], abs=0.5)


def test_a_hint_of_another_channel_is_not_passed_on(queue, waiter, hints):
    queue.push_hints("other", [("a", 3.0)])

    assert (claim(queue, waiter), hints) == ([], [])


def test_a_worker_that_blocks_gets_a_hint_at_once_and_goes_on_waiting(queue, raw, waiter, hints):
    with ThreadPoolExecutor(1) as pool:
        wait = pool.submit(claim, queue, waiter, timeout=30)
        eventually(lambda: raw.info("clients")["blocked_clients"] == 1)
        queue.push_hints(CHANNEL, [("a", 3.0)])
        eventually(lambda: hints)
        eventually(lambda: raw.info("clients")["blocked_clients"] == 1)
        queue.push(CHANNEL, [("b", 1)])

        assert wait.result(timeout=10) == ["b"]
    assert queue.waiting(CHANNEL) == 0
    assert hints[0] == pytest.approx(3.0, abs=0.5)


def test_a_message_that_is_pushed_before_its_hint_is_over_is_claimed(queue, waiter):
    claim(queue, waiter, timeout=0.05)
    queue.push_hints(CHANNEL, [("a", 9.0)])
    queue.push(CHANNEL, [("a", 1)])

    assert claim(queue, waiter) == ["a"]
    assert claim(queue, waiter) == []
    assert queue.waiting(CHANNEL) == 0


def test_a_claim_of_a_task_that_was_hinted_at_can_be_repeated(queue, waiter):
    """The reply to the claim was lost: its token still holds the message."""
    queue.push(CHANNEL, [("a", 1)])
    queue.push_hints(CHANNEL, [("a", 9.0)])
    first = queue.claim_rows(CHANNEL, "w", 60, waiter)

    assert [row[:2] for row in queue.claim_rows(CHANNEL, "w", 60, waiter)] == [first[0][:2]]


def test_what_only_wakes_is_not_counted_and_not_recovered(queue, raw, expire, waiter):
    claim(queue, waiter, timeout=0.05)
    queue.push_hints(CHANNEL, [("a", 9.0)])
    waiting = queue.waiting(CHANNEL)
    assert queue.place(CHANNEL, "a", limit=5) is None
    raw.rpoplpush(queue.get_mq_key(CHANNEL), queue.get_running_key(CHANNEL, waiter.token))
    expire()

    assert (waiting, queue.recover()["cleared"]) == (0, 1)
    assert claim(queue, Waiter()) == []
    assert queue.missing(CHANNEL, ["a"]) == ["a"]


def test_many_tasks_that_are_due_together_are_one_hint(queue, raw, waiter):
    for number in range(500):
        queue.push_hints(CHANNEL, [(f"m{number}", 5.0 + number / 10_000)])

    assert 1 <= raw.zcard(DUE) <= 30


def test_hints_are_forgotten(queue, raw):
    queue.push_hints(CHANNEL, [("a", 5.0), ("b", 9.0)])
    raw.zadd(DUE, {"a": raw.time()[0] - 1})
    queue.push_hints(CHANNEL, [("c", 5.0)])

    assert raw.zrange(DUE, 0, -1) == [b"c", b"b"]
    assert 9 < raw.ttl(DUE) <= 15


def test_without_a_worker_that_blocks_the_list_has_no_entry(queue, raw):
    queue.push_hints(CHANNEL, [("a", 3.0)])

    assert not raw.exists(queue.get_mq_key(CHANNEL))


def test_a_stock_client_that_takes_the_entry_gets_no_message(queue, stock, waiter):
    claim(queue, waiter, timeout=0.05)
    queue.push_hints(CHANNEL, [("a", 3.0)])

    assert stock.pop(CHANNEL, timeout=1) is None
    queue.push(CHANNEL, [("a", 1)])
    assert claim(queue, waiter) == ["a"]
