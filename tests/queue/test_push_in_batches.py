"""A push of many batches: the next is packed while Redis works on one, whatever happens then."""

from __future__ import annotations

import pytest

from django_simpletask3.exceptions import QueueRefused, QueueUnavailable
from django_simpletask3.queue.transport import BATCH_SIZE
from tests.eventually import eventually
from tests.queue.conftest import CHANNEL
from tests.queue.proxy import Proxy

HEAD = [CHANNEL, f'"{CHANNEL}"', "LPUSH", "", ""]


def batch_of(name):
    return [*HEAD, name, f'"{name}"', "1"]


def push_each(queue, *between):
    """Push "a", "b" and so on, one in each batch; call one of ``between`` while Redis works."""

    def batches():
        yield batch_of("a")
        for name, call in zip("bcd", between, strict=False):
            call()
            yield batch_of(name)

    return queue.run_each("push", batches())


def claimed(queue):
    return [message.id for message in queue.claim(CHANNEL, worker="w", lease=60, limit=5000)]


def connections(raw):
    return raw.info("stats")["total_connections_received"]


def test_no_batch_is_no_command(queue, raw):
    raw.config_resetstat()

    assert queue.run_each("push", []) == []

    assert "cmdstat_evalsha" not in raw.info("commandstats")


def test_a_server_that_loses_the_scripts_meanwhile_receives_them_again(queue, raw):
    replies = push_each(queue, raw.script_flush, lambda: None, raw.script_flush)

    assert replies == [[b"pushed"]] * 4
    assert claimed(queue) == list("abcd")


@pytest.fixture
def fill(raw):
    def fill():
        eventually(lambda: raw.exists("q:item:a"))
        raw.config_set("maxmemory", 1)

    yield fill
    raw.config_set("maxmemory", 0)


def test_what_is_refused_meanwhile_is_reported_and_no_more_is_sent(queue, raw, fill):
    queue.push("warm", [("warm", 1)])
    before = connections(raw)
    with pytest.raises(QueueRefused, match=r"OOM|OutOfMemory"):
        push_each(queue, fill, lambda: None)
    raw.config_set("maxmemory", 0)

    assert claimed(queue) == ["a"]
    assert connections(raw) == before  # the connection is used again


def test_a_batch_that_cannot_be_packed_leaves_no_reply_behind(queue, raw):
    def fail():
        eventually(lambda: raw.exists("q:item:a"))  # connections have no order among each other
        raise LookupError

    queue.push("warm", [("warm", 1)])  # Redis knows the script
    with pytest.raises(LookupError):
        push_each(queue, fail)

    assert queue.push(CHANNEL, [("b", 1), ("c", 1)]) == ["pushed", "pushed"]
    assert claimed(queue) == ["a", "b", "c"]


def test_a_connection_that_breaks_between_two_batches_is_reported(server, make_queue, queue):
    proxy = Proxy(server.socket)
    far = make_queue(proxy.url)
    far.push("warm", [("warm", 1)])
    proxy.inject(2, "before", lambda: None)

    with pytest.raises(QueueUnavailable):
        far.push(CHANNEL, [(f"m{number}", 1) for number in range(3 * BATCH_SIZE)])

    assert claimed(queue) == [f"m{number}" for number in range(BATCH_SIZE)]
    assert far.push(CHANNEL, [("z", 1)]) == ["pushed"]
    proxy.close()


def test_urgent_batches_keep_their_order(queue):
    ids = [f"m{number}" for number in range(BATCH_SIZE + 3)]
    queue.push(CHANNEL, [("last", 1)])

    queue.push(CHANNEL, [(name, 1) for name in ids], urgent=True)

    assert claimed(queue) == [*ids, "last"]


def test_each_message_of_the_batches_has_its_priority(queue):
    ids = [f"m{number}" for number in range(BATCH_SIZE + 3)]

    queue.push(CHANNEL, [(name, 1) for name in ids], priorities={ids[-1]: 5, ids[0]: -5})

    assert claimed(queue) == [ids[-1], *ids[1:-1], ids[0]]
