"""A node and its callers while Redis is away, silent, forgetful, read-only, full or cut off."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.redis_servers import RedisServer
from tests.steps import kinds, status_of
from tests.testapp.models import Invoice, Scripted
from tests.worker.conftest import Start
from tests.worker.processes import lines, processor_seconds

pytestmark = pytest.mark.one_server

Outage = Callable[[RedisServer], AbstractContextManager[None]]
StartNode = Callable[..., int]

#: Long enough that a loop without rests shows, and that failing ones reach longer rests.
SECONDS = 4.0
#: Too long for a request: the promise is two seconds, a slow machine takes more.
FAR_TOO_LONG = 15.0


def client_of(server: RedisServer) -> "redis.Redis[bytes]":
    # It may be cut off as well.
    retry = Retry(NoBackoff(), retries=10)
    return redis.Redis.from_url(server.url, retry=retry, retry_on_error=[redis.ConnectionError])


@contextmanager
def away(server: RedisServer) -> Iterator[None]:
    server.kill()
    yield
    server.start()


@contextmanager
def silent(server: RedisServer) -> Iterator[None]:
    server.freeze()
    yield
    server.thaw()


@contextmanager
def forgetful(server: RedisServer) -> Iterator[None]:
    with client_of(server) as client, again_and_again(client.script_flush):
        yield


@contextmanager
def only_reading(server: RedisServer) -> Iterator[None]:
    with client_of(server) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        yield
        client.execute_command("REPLICAOF", "NO", "ONE")


@contextmanager
def full(server: RedisServer) -> Iterator[None]:
    with client_of(server) as client:
        client.config_set("maxmemory", 1)
        yield
        client.config_set("maxmemory", 0)


@contextmanager
def cut_off(server: RedisServer) -> Iterator[None]:
    with client_of(server) as client:
        with again_and_again(lambda: client.client_kill_filter(_type="normal", skipme=True)):
            yield


@contextmanager
def again_and_again(work: Callable[[], object], pace: float = 0.05) -> Iterator[None]:
    """``work`` is called all the time, by another thread, while the block runs."""
    over = threading.Event()

    def do() -> None:
        while not over.wait(pace):
            work()

    thread = threading.Thread(target=do)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


OUTAGES = [away, silent, forgetful, only_reading, full, cut_off]
every_outage = pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.__name__)


@pytest.fixture
def start_node(
    start_server: Start,
    own_redis_server: RedisServer,
    settings,  # type: ignore[no-untyped-def]
) -> StartNode:
    """Start a node at the Redis that will fail; its process group."""
    # What was pushed before the outage is checked again soon, by callers and node alike.
    settings.DJANGO_SIMPLETASK3_SIMQ_TIMEOUT_TASK_RECOVERY_INTERVAL = 2

    def start(models: str = "testapp.Scripted") -> int:
        return start_server(
            "--models",
            models,
            DJANGO_SIMPLETASK3_SIMQ_REDIS_URL=own_redis_server.url,
            DJANGO_SIMPLETASK3_SIMQ_TIMEOUT_TASK_RECOVERY_INTERVAL="2",
            DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT="3",
            DJANGO_SIMPLETASK3_SHUTDOWN_GRACE="1",
            DJANGO_SIMPLETASK3_DEFAULT_SIMQ_WORKER_NUMBER="2",
        ).pid

    return start


class Witness:
    """Scripted tasks that note each of their runs, and may wait until they are let go."""

    def __init__(self, folder: Path) -> None:
        self.runs, self.go = folder / "runs", folder / "go"
        self.tasks: list[Scripted] = []

    def task(self, *further: dict[str, str]) -> Scripted:
        name = str(len(self.tasks))
        steps = [{"do": "append", "path": str(self.runs), "text": name}, *further]
        self.tasks.append(Scripted.objects.create(script=steps))
        return self.tasks[-1]

    def long_task(self) -> Scripted:
        return self.task({"do": "wait", "path": str(self.go)})

    def seconds_of_saving(self, number: int) -> list[float]:
        return [self._seconds_of_saving_one() for _ in range(number)]

    def _seconds_of_saving_one(self) -> float:
        began = time.monotonic()
        self.task()
        return time.monotonic() - began

    def all_ran(self) -> bool:
        return {status_of(task) for task in self.tasks} == {Status.SUCCESS}

    def each_ran_once(self) -> bool:
        return lines(self.runs) == sorted(str(number) for number in range(len(self.tasks)))


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return Witness(tmp_path)


@every_outage
def test_an_outage_costs_no_task_and_doubles_none(
    start_node: StartNode,
    own_redis_server: RedisServer,
    outage: Outage,
    witness: Witness,
) -> None:
    running = [witness.long_task() for _ in range(2)]
    waiting = [witness.task() for _ in range(3)]
    start_node()
    eventually(lambda: {status_of(task) for task in running} == {Status.RUNNING})

    with outage(own_redis_server):
        seconds = witness.seconds_of_saving(5)
        witness.go.touch()
        eventually(lambda: {status_of(task) for task in running} == {Status.SUCCESS})
        seconds += witness.seconds_of_saving(2)
    witness.seconds_of_saving(2)

    eventually(witness.all_ran, timeout=60)
    assert witness.each_ran_once()
    assert max(seconds) < FAR_TOO_LONG
    assert {kind for task in witness.tasks for kind in kinds(task)} <= {
        "enqueue",
        "start",
        "ack",
        "recover",
    }
    assert [kinds(task) for task in running] == [["enqueue", "start", "ack"]] * 2
    # A message that was lost with its Redis is recovered, a run never is.
    for task in waiting:
        assert task.events.filter(kind="start").count() == 1


@pytest.mark.once
@every_outage
def test_no_loop_spins_in_an_outage(
    start_node: StartNode,
    own_redis_server: RedisServer,
    outage: Outage,
    witness: Witness,
) -> None:
    witness.long_task()
    node = start_node()
    eventually(lambda: status_of(witness.tasks[0]) == Status.RUNNING)

    with outage(own_redis_server):
        before, began = processor_seconds(node), time.monotonic()
        eventually(lambda: time.monotonic() > began + SECONDS, timeout=2 * SECONDS)
        used, elapsed = processor_seconds(node) - before, time.monotonic() - began

    assert used < elapsed / 4
    witness.go.touch()
    eventually(witness.all_ran, timeout=60)


@pytest.mark.once
@pytest.mark.parametrize("outage", [only_reading, full, cut_off], ids=lambda one: one.__name__)
def test_a_redis_that_refuses_is_not_asked_without_rests(
    start_node: StartNode,
    own_redis_server: RedisServer,
    outage: Outage,
    witness: Witness,
) -> None:
    witness.long_task()
    start_node()
    eventually(lambda: status_of(witness.tasks[0]) == Status.RUNNING)

    with outage(own_redis_server), client_of(own_redis_server) as client:
        before, began = commands_of(client), time.monotonic()
        eventually(lambda: time.monotonic() > began + SECONDS, timeout=2 * SECONDS)
        asked, elapsed = commands_of(client) - before, time.monotonic() - began

    assert asked < MOST_PER_SECOND * elapsed
    witness.go.touch()
    eventually(witness.all_ran, timeout=60)


#: Of all the models' fetchers, recovery, heartbeats and new connections together; a loop without
#: rests asks thousands of times.
MOST_PER_SECOND = 500


def commands_of(client: "redis.Redis[bytes]") -> int:
    """How many commands were processed so far, refused ones included."""
    stats = client.info("commandstats").values()
    return sum(each["calls"] + each.get("rejected_calls", 0) for each in stats)


def test_a_node_that_starts_without_redis_runs_what_was_saved_before_and_since(
    start_node: StartNode, own_redis_server: RedisServer, witness: Witness
) -> None:
    pushed = [witness.task() for _ in range(3)]
    own_redis_server.kill()
    not_pushed = [witness.task() for _ in range(3)]

    start_node()

    eventually(witness.all_ran, timeout=60)
    assert witness.each_ran_once()
    assert [kinds(task) for task in (*pushed, *not_pushed)] == [["enqueue", "start", "ack"]] * 6


@pytest.mark.parametrize(
    ("number", "room"),
    [pytest.param(2000, 1.5, id="for a while"), pytest.param(700, 0.5, id="and stays full")],
)
def test_a_redis_that_throws_messages_away_loses_no_task(
    start_node: StartNode, own_redis_server: RedisServer, number: int, room: float
) -> None:
    with client_of(own_redis_server) as client:
        before = client.info("memory")["used_memory"]
        Invoice.objects.bulk_enqueue([{"amount": amount} for amount in range(number)])
        needed = client.info("memory")["used_memory"] - before
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", before + needed // 2)
        eventually(lambda: client.info("stats")["evicted_keys"] > number // 4)
        client.config_set("maxmemory", before + int(needed * room))

    start_node("testapp.Invoice")

    # Where Redis kept the mark by which its losses are noticed, the next look finds them: that is
    # after the interval of recovery, which is two minutes here.
    eventually(lambda: Invoice.objects.succeeded().count() == number, timeout=300, interval=0.5)
    events = Invoice.event_model.objects
    assert {kind: events.filter(kind=kind).count() for kind in ("start", "ack", "fail")} == {
        "start": number,
        "ack": number,
        "fail": 0,
    }
