"""The queue of ``none://`` has every operation, and no connection."""

import inspect
import threading
import time
from typing import Any

import pytest

from django_simpletask3.exceptions import QueueUnavailable
from django_simpletask3.queue import Message, Queue, TaskQueue, Waiter, encode_message
from django_simpletask3.queue.without_redis.empty_queue import QueueWithoutRedis
from tests.eventually import eventually

CHANNEL = "c"
MESSAGE = Message("a", CHANNEL, "claim", None)
#: Of each operation of a queue what it returns here, and its arguments.
ANSWERS: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {
    "push": (["pushed", "pushed"], (CHANNEL, [("a", 1), ("b", 2)]), {"urgent": True}),
    "push_encoded": ([b"pushed"], (CHANNEL, [encode_message("a", 1)], [0]), {}),
    "push_hints": (None, (CHANNEL, [("a", 3.0)]), {}),
    "claim": ([], (CHANNEL,), {"worker": "w", "lease": 5, "limit": 3}),
    "stop_waiting": (None, (CHANNEL, Waiter()), {}),
    "ack_many": ([False], ([MESSAGE],), {}),
    "drop_many": ([False], ([MESSAGE],), {}),
    "forget_many": ([False], ([MESSAGE],), {}),
    "ret_many": ([False], ([MESSAGE],), {}),
    "heartbeat": ([], ("w", []), {"lease": 5}),
    "dead_letter": (False, (MESSAGE, "why"), {}),
    "dead_letters": ([], (CHANNEL,), {}),
    "dead_letter_count": (0, (CHANNEL,), {}),
    "requeue_dead_letters": (0, (CHANNEL,), {}),
    "requeue_dead_letter": (False, (CHANNEL, "1"), {}),
    "seconds_to_next_expiry": (float("inf"), (), {}),
    "adopt": (0, (), {}),
    "expire_leases": (0, (["w"],), {}),
    "wake": (None, (), {}),
    "has_lost_data": (False, (), {}),
    "write_marker": (False, (), {}),
    "missing": ([], (CHANNEL, ["a"]), {}),
    "cancel_many": (None, (CHANNEL, ["a"]), {}),
    "waiting": (0, (CHANNEL,), {}),
    "running": (0, (CHANNEL,), {}),
    "place": (None, (CHANNEL, "a"), {}),
    "check_rights": (None, (), {}),
    "version": ("", (), {}),
    "check_server": ([], (), {}),
    "report": (None, ("w", {}), {}),
    "deregister_worker": (None, ("w",), {}),
    "workers": ([], (), {}),
    "query": (None, ("a",), {"timeout": 60}),
    "pop": (None, (CHANNEL,), {"timeout": 0}),
    "close": (None, (), {}),
}
#: Those of the stock client for which only Redis has an answer.
REFUSED: dict[str, tuple[Any, ...]] = {
    "ack": ("a",),
    "cancel": ("a",),
    "drop": ("a",),
    "ret": ("a",),
    "lpush": (CHANNEL, 1),
    "rpush": (CHANNEL, 1, "a"),
    "get_worker_status": ("w",),
    "update_worker_status": ("w",),
}


@pytest.fixture
def queue() -> QueueWithoutRedis:
    return QueueWithoutRedis.from_url("none://")


@pytest.mark.parametrize("name", ANSWERS)
def test_every_operation_has_an_answer_at_once(queue: QueueWithoutRedis, name: str) -> None:
    expected, arguments, options = ANSWERS[name]

    assert getattr(queue, name)(*arguments, **options) == expected


@pytest.mark.parametrize("name", REFUSED)
def test_what_only_redis_knows_is_refused(queue: QueueWithoutRedis, name: str) -> None:
    with pytest.raises(QueueUnavailable, match="There is no Redis"):
        getattr(queue, name)(*REFUSED[name])


def test_no_operation_is_forgotten() -> None:
    others = {"from_url", "translate_errors", "rights_missing", "denied_names", "run", "run_each"}
    others |= {"hset", "hgetall", "claim_rows", "settle", "recover", "recovery"}
    others |= {"get_running_keys", "ask"}
    own = {
        name
        for package in Queue.__mro__
        if package.__module__.startswith("django_simpletask3.")
        for name, value in vars(package).items()
        if inspect.isroutine(value) and not name.startswith("_") and not name.endswith("_key")
    }

    assert own - others == ANSWERS.keys() | REFUSED.keys()


def test_an_operation_that_is_called_is_in_the_contract() -> None:
    of_the_stock_client = {"pop"}

    contract = ANSWERS.keys() - of_the_stock_client | {"recover"}
    assert contract == TaskQueue.__abstractmethods__


def test_a_queue_that_lacks_an_operation_cannot_be_made() -> None:
    class Unfinished(QueueWithoutRedis):
        workers = TaskQueue.workers

    with pytest.raises(TypeError, match="workers"):
        Unfinished.from_url("none://")


def test_a_push_of_the_process_ends_the_wait_of_its_claim_and_is_a_hint(
    queue: QueueWithoutRedis,
) -> None:
    hints: list[list[float]] = []
    waiter = Waiter(on_hint=lambda seconds: hints.append(list(seconds)))
    claims = threading.Thread(
        target=queue.claim,
        args=(CHANNEL,),
        kwargs={"worker": "w", "lease": 5, "timeout": 60.0, "waiter": waiter},
    )
    queue.claim(CHANNEL, worker="w", lease=5)

    claims.start()
    queue.push("another", [("b", 1)])
    queue.push(CHANNEL, [("a", 1)])

    eventually(lambda: not claims.is_alive())
    assert hints == [[0.0]]


def test_a_push_before_the_wait_is_not_overlooked(queue: QueueWithoutRedis) -> None:
    hints: list[float] = []
    queue.claim(CHANNEL, worker="w", lease=5)
    queue.push_hints(CHANNEL, [("a", 7.0)])
    began = time.monotonic()

    queue.claim(CHANNEL, worker="w", lease=5, timeout=60, waiter=Waiter(on_hint=hints.extend))

    assert time.monotonic() - began < 30
    [seconds] = hints
    assert 0 < seconds <= 7


def test_wake_ends_the_wait_of_a_claim(queue: QueueWithoutRedis) -> None:
    options = {"worker": "w", "lease": 5, "timeout": 60.0}
    claims = threading.Thread(target=queue.claim, args=(CHANNEL,), kwargs=options)
    claims.start()

    eventually(lambda: queue.wake() or not claims.is_alive())


def test_of_many_pushes_before_a_claim_the_earliest_is_kept(queue: Any) -> None:
    """While its queue is paused, or its threads are full, a worker claims nothing."""
    hints: list[float] = []
    queue.claim(CHANNEL, worker="w", lease=5)

    for _ in range(3):
        queue.push_hints(CHANNEL, [("a", 900.0), ("b", 60.0)])
        queue.push_hints(CHANNEL, [("c", 300.0)])
    kept = queue._due[CHANNEL]
    queue.claim(CHANNEL, worker="w", lease=5, waiter=Waiter(on_hint=hints.extend))

    assert isinstance(kept, float)
    [seconds] = hints
    assert 0 < seconds <= 60


def test_a_process_that_claims_nothing_keeps_no_pushes(queue: Any) -> None:
    queue.push(CHANNEL, [("a", 1)])

    assert queue._due == {}
