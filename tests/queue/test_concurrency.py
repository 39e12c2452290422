"""Many threads on one queue: every message is finished exactly once."""

from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.queue.conftest import CHANNEL


def work(queue, done, seed):
    """Claim messages, and finish or return them at random, until the queue is empty."""
    rng = random.Random(seed)
    while messages := queue.claim(CHANNEL, worker=f"w{seed}", lease=60, limit=7, timeout=0.3):
        back = [message for message in messages if rng.random() < 0.2]
        rest = [message for message in messages if message not in back]
        queue.ret_many(back, head=rng.random() < 0.5)
        for message, is_done in zip(rest, queue.ack_many(rest), strict=True):
            done[message.id] += is_done


def test_every_message_is_finished_exactly_once_by_eight_workers(queue):
    names = [str(number) for number in range(1000)]
    queue.push(CHANNEL, [(name, 1) for name in names])
    done: Counter[str] = Counter()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: work(queue, done, seed), range(8)))

    assert done == Counter(names)
    assert (queue.waiting(CHANNEL), queue.running(CHANNEL)) == (0, 0)


def test_two_recoveries_at_once_return_a_message_once(queue, expire):
    names = [str(number) for number in range(400)]
    queue.push(CHANNEL, [(name, 1) for name in names])
    queue.claim(CHANNEL, worker="w", lease=60, limit=400)
    expire()

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(lambda _: queue.recover(limit=30)["returned"], range(40)))

    assert sum(counts) == 400
    assert queue.waiting(CHANNEL) == 400


def test_pushes_of_the_same_messages_by_many_leave_one_of_each(queue):
    names = [str(number) for number in range(50)]
    start = threading.Barrier(6)

    def push(_):
        start.wait()
        return queue.push(CHANNEL, [(name, 1) for name in names])

    with ThreadPoolExecutor(6) as pool:
        answers = [answer for batch in pool.map(push, range(6)) for answer in batch]

    assert Counter(answers) == {"pushed": 50, "queued": 250}
    assert queue.waiting(CHANNEL) == 50


def test_a_message_is_either_canceled_or_taken_never_both(queue):
    names = [str(number) for number in range(300)]
    queue.push(CHANNEL, [(name, 1) for name in names])
    start = threading.Barrier(2)

    def cancel():
        start.wait()
        return {name for name in reversed(names) if queue.cancel(name) is True}

    def take():
        start.wait()
        return {message.id for _ in names for message in queue.claim(CHANNEL, worker="w", lease=60)}

    with ThreadPoolExecutor(2) as pool:
        canceled, taken = pool.submit(cancel), pool.submit(take)

    assert not canceled.result() & taken.result()
    assert canceled.result() | taken.result() == set(names)


def test_every_waiting_worker_gets_one_of_the_messages_that_arrive(queue):
    with ThreadPoolExecutor(5) as pool:
        waits = [
            pool.submit(queue.claim, CHANNEL, worker="w", lease=60, timeout=10) for _ in range(5)
        ]
        queue.push(CHANNEL, [(str(number), 1) for number in range(5)])

    taken = [message.id for wait in waits for message in wait.result()]
    assert sorted(taken) == ["0", "1", "2", "3", "4"]
