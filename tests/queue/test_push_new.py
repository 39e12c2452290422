"""Messages of ids that Redis does not know are pushed by a shorter way, which leaves the same."""

from __future__ import annotations

import hashlib
import re
import uuid
from pathlib import Path
from random import Random

import pytest

from django_simpletask3.queue import Queue, scripts

CHANNEL = "c"
IDS = ["a", "b", "c", "d", "é", "x:y"]
_MOMENT = re.compile(rb"\d{9,}\.\d+")


@pytest.fixture
def long_way():
    """The script ``push`` without the shorter way."""
    text = scripts.script("push").text
    short_way = "local replies_of_new = push_new()"
    assert text.count(short_way) == 1
    text = text.replace(short_way, "local replies_of_new")
    return scripts.Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def use(monkeypatch, name, script):
    found = scripts.script
    replacement = lambda wanted: script if wanted == name else found(wanted)  # noqa: E731
    monkeypatch.setattr("django_simpletask3.queue.transport.script", replacement)


def history(queue, raw, seed, monkeypatch):
    """A random history of the queue: the replies, and all that Redis holds after each operation."""
    raw.flushdb()
    draw, claimed = Random(seed), []
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=draw.getrandbits(128)))
    for number in range(25):
        step = draw.choice(["push"] * 5 + ["claim", "claim", "end", "cancel", "damage", "forget"])
        if step == "push":
            ids = draw.choices(IDS, k=draw.choice([1, 1, 2, 3, 6]))
            urgent, take_over = draw.random() < 0.3, draw.random() < 0.3
            priorities = {name: draw.choice([-5, 5]) for name in ids if draw.random() < 0.2}
            messages = [(name, {"n": number}) for name in ids]
            options = {"urgent": urgent, "take_over": take_over, "priorities": priorities}
            reply = queue.push(CHANNEL, messages, **options)
        elif step == "claim":
            new = queue.claim(CHANNEL, worker="w", lease=60, limit=draw.choice([1, 3]))
            claimed += new
            reply = [(message.id, message.data, message.attempt) for message in new]
        elif step == "end":
            some = [message for message in claimed if draw.random() < 0.5]
            end = draw.choice([queue.ack_many, queue.drop_many, queue.ret_many, queue.forget_many])
            reply = end(some)
        elif step == "cancel":
            reply = queue.cancel_many(CHANNEL, draw.choices(IDS, k=2))
        elif step == "damage":  # by another client
            key = draw.choice(["item:a", "item:b", "done:a", "mq:c"])
            reply = raw.set(f"{queue.prefix}:{key}", "x")
        else:  # the item has expired, or not yet the event of its end
            reply = raw.delete(f"{queue.prefix}:{draw.choice(['item', 'done'])}:{draw.choice(IDS)}")
        yield step, reply, dump(raw)


def dump(raw):
    read = {
        b"hash": raw.hgetall,
        b"list": lambda key: raw.lrange(key, 0, -1),
        b"zset": lambda key: raw.zrange(key, 0, -1, withscores=b":leases" not in key),
        b"string": raw.get,
    }
    found = {key: (raw.type(key), raw.ttl(key)) for key in sorted(raw.scan_iter("*", count=1000))}
    return {
        key: (kind, ttl > 0, _MOMENT.sub(b"-", repr(read[kind](key)).encode()))
        for key, (kind, ttl) in found.items()
    }


@pytest.mark.parametrize("seed", range(12))
def test_the_short_way_leaves_what_the_long_one_leaves(queue, raw, seed, long_way, monkeypatch):
    left = list(history(queue, raw, seed, monkeypatch))
    use(monkeypatch, "push", long_way)

    assert left == list(history(queue, raw, seed, monkeypatch))


def test_many_new_messages_are_pushed_by_one_command_each(queue, raw):
    messages = [(f"m{number}", number) for number in range(500)]
    queue.push(CHANNEL, [("first", 0)])
    raw.config_resetstat()

    assert queue.push(CHANNEL, messages) == ["pushed"] * 500

    stats = {name[8:]: found["calls"] for name, found in raw.info("commandstats").items()}
    ours = {"evalsha": 1, "time": 1, "exists": 1, "hset": 500, "lpush": 1}
    assert {name: stats.get(name) for name in ours} == ours
    assert stats.keys() - ours.keys() <= {"config|resetstat", "config", "info"}


def test_the_end_of_an_earlier_message_whose_item_has_expired_is_forgotten(queue, raw):
    queue.push(CHANNEL, [("a", 1)])
    queue.ack_many(queue.claim(CHANNEL, worker="w", lease=60))
    raw.delete("q:item:a")
    assert raw.exists("q:done:a")

    assert queue.push(CHANNEL, [("a", 2)]) == ["pushed"]

    assert not raw.exists("q:done:a")


def test_pushing_nothing_asks_redis_nothing(tmp_path: Path) -> None:
    queue = Queue.from_url(f"unix://{tmp_path}/no.socket")

    assert queue.push("channel", []) == []
