"""Whatever stands in a key of ours, it costs itself only."""

from __future__ import annotations

import json
import time

import pytest

from django_simpletask3.queue import TOO_LONG, UNDECODABLE, Undecodable
from django_simpletask3.queue.dead_letters import UNREADABLE
from django_simpletask3.queue.encoding import MAX_BYTES, MAX_DIGITS, dumps, loads
from django_simpletask3.queue.messages import MAX_ID_BYTES
from tests.queue.conftest import CHANNEL, PREFIX
from tests.queue.test_servers import CALLS as EVERY_CALL

pytestmark = pytest.mark.once

#: Texts that are short, or allowed to be long, and whose value is endless, huge or slow to build.
EXPENSIVE = {
    "in itself": b"&a [*a]",
    "in itself as a key": b"&a {x: *a}",
    "billion laughs": b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
    "merged": b"a: &a {x: 1}\nb: {<<: *a}",
    "digits": b"1" * (MAX_DIGITS + 1),
    "digits in JSON": b'{"id": ' + b"1" * (MAX_DIGITS + 1) + b"}",
    "base 60": b"1" + b":1" * MAX_DIGITS,
    "base 60 float": b"1" + b":1" * MAX_DIGITS + b".5",
    "hexadecimal": b"0x" + b"f" * MAX_DIGITS,
    "binary": b"0b" + b"1" * 4000,
    "explicit": b'!!int "' + b"1" * 4000 + b'"',
    "exponent": b"1.0e+" + b"9" * (MAX_DIGITS + 1),
    "fraction": b"0." + b"1" * 4000,
    "timestamp": b"2026-01-02 03:04:05." + b"6" * MAX_DIGITS,
    "deep": b"[" * 101 + b"]" * 101,
    "deep in JSON": b'{"a": ' * 101 + b"1" + b"}" * 101,
    "deep in blocks": b"- " * 101 + b"1",
    "deep keys": b"? " * 101,
    "many": b"- 1\n" * 10_000,
    "many with surrogates": b'["\\ud800", ' + b"1, " * 5000 + b"1]",
    "long": b"'" + b"x" * MAX_BYTES + b"'",
    "object": b"!!python/object/apply:os.getcwd []",
}
#: What any field, list entry or report may be.
NONSENSE = {
    "empty": b"",
    "bytes": b"\x00\xff\xfe",
    "text": b"nonsense",
    "quotes": b"\"'",
    "lines": b"a\nb\n",
    "not a number": b"nan",
    "infinity": b"inf",
    "minus infinity": b"-inf",
    "negative": b"-7",
    "fraction": b"1.5",
    "huge": b"9" * 5000,
    "exponent": b"1e308",
    "hexadecimal": b"0x7fffffffffffffffffff",
    "list": b"[1, 2]",
    "dict": b"{a: 1}",
    "long": b"x" * 100_000,
    "status": b"running",
    "true": b"true",
    "in itself": EXPENSIVE["in itself"],
    "base 60": EXPENSIVE["base 60"],
    "deep": EXPENSIVE["deep"],
}
FIELDS = ["id", "channel", "add_time", "mod_time", "status", "data", "running_id", "start_time"]
FIELDS += ["worker", "x_attempt", "x_claim", "x_repush", "x_settled", "x_next", "x_", "result"]
FIELDS += ["x_priority", "retry_count", "return_reason", "cancel_flag", "cancel_time", "x_report"]
WRONG_TYPES = {
    "string": lambda raw, key: raw.set(key, b"\xff"),
    "list": lambda raw, key: raw.rpush(key, b"\xff", b""),
    "hash": lambda raw, key: raw.hset(key, mapping={b"\xff": b"\xff"}),
    "set": lambda raw, key: raw.sadd(key, b"\xff"),
    "zset": lambda raw, key: raw.zadd(key, {b"\xff": float("inf"), b"": float("-inf")}),
    "stream": lambda raw, key: raw.xadd(key, {b"\xff": b"\xff"}),
}
#: Without those that take their time.
CALLS = {name: call for name, call in EVERY_CALL.items() if name not in ("wait", "check_server")}
KEYS = {
    "mq": f"{PREFIX}:mq:{CHANNEL}",
    "item": f"{PREFIX}:item:a",
    "running": f"{PREFIX}:running:{CHANNEL}:some-claim",
    "done": f"{PREFIX}:done:a",
    "worker": f"{PREFIX}:worker:w",
    "leases": f"{PREFIX}:x:leases",
    "waits": f"{PREFIX}:x:waits",
    "mark": f"{PREFIX}:x:mark",
    "workers": f"{PREFIX}:x:workers",
    "dead": f"{PREFIX}:x:dead:{CHANNEL}",
    "priority": f"{PREFIX}:x:priority:{CHANNEL}",
    "due": f"{PREFIX}:x:due:{CHANNEL}",
}


def claim(queue, limit=10):
    return queue.claim(CHANNEL, worker="w", lease=60, limit=limit)


def works_off_an_honest_message(queue) -> bool:
    """Whether a new message goes its way."""
    queue.push(CHANNEL, [("honest", {"id": 1})], urgent=True)
    [message] = [found for found in claim(queue) if found.id == "honest"]
    queue.heartbeat("w", [message], lease=60)
    return message.data == {"id": 1} and queue.ack_many([message]) == [True]


@pytest.mark.parametrize("name", EXPENSIVE)
def test_a_text_beyond_a_limit_is_undecodable_at_once(name):
    started = time.process_time()

    with pytest.raises(Undecodable):
        loads(EXPENSIVE[name])

    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    "value",
    [10**MAX_DIGITS, -(16**400), "x" * MAX_BYTES, "é" * (MAX_BYTES // 2), [0] * MAX_BYTES],
    ids=["digits", "hexadecimal", "long", "long in bytes", "many"],
)
def test_what_could_not_be_read_is_not_written(value):
    with pytest.raises(ValueError, match="cannot carry"):
        dumps({"value": value})


def test_a_value_that_contains_itself_many_times_is_refused_at_once():
    shared: list[object] = ["x"]
    for _ in range(80):
        shared = [shared, shared]
    started = time.process_time()

    with pytest.raises(ValueError, match="cannot carry"):
        dumps({"value": shared, "again": "x"})

    assert time.process_time() - started < 1


def test_the_largest_body_is_carried(queue):
    body = "x" * (MAX_BYTES - 2)
    queue.push(CHANNEL, [("i" * MAX_ID_BYTES, body)])

    [message] = claim(queue)

    assert (message.data, message.problem, len(message.id)) == (body, "", MAX_ID_BYTES)


def test_an_id_that_no_worker_would_take_is_refused(queue):
    with pytest.raises(ValueError, match="bytes"):
        queue.push(CHANNEL, [("i" * (MAX_ID_BYTES + 1), 1)])


def test_an_id_that_is_too_long_is_a_dead_letter(queue, raw):
    raw.lpush(KEYS["mq"], b"\xff\x00" + b"i" * 1_000_000)

    assert works_off_an_honest_message(queue)
    assert claim(queue) == []
    [letter] = queue.dead_letters(CHANNEL)
    assert letter["reason"] == "the id of the message has 1000002 bytes"
    assert len(json.dumps(letter)) < 1000
    assert queue.requeue_dead_letters(CHANNEL) == 0


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"x" * 15_000_000, TOO_LONG),
        *((text, UNDECODABLE) for text in list(EXPENSIVE.values())[:9]),
    ],
)
def test_a_body_beyond_a_limit_becomes_a_small_dead_letter(queue, raw, body, problem):
    queue.push(CHANNEL, [("a", 1)])
    raw.hset(KEYS["item"], "data", body)

    [message] = claim(queue)
    assert (message.problem, message.data) == (problem, None)
    assert queue.dead_letter(message, "r" * 100_000) is True

    assert len(raw.lindex(KEYS["dead"], 0)) < 8000
    [letter] = queue.dead_letters(CHANNEL)
    assert letter["id"] == "a"
    assert letter["raw"].startswith(body[:5].decode())


@pytest.mark.parametrize(
    "data",
    [10**5000, float("nan"), b"\xff" * 9999, "\ud800" * 9999, object()],
    ids=["digits", "nan", "bytes", "surrogates", "object"],
)
def test_dead_lettering_cannot_fail(queue, claimed, data):
    shared: list[object] = [data]
    for _ in range(10):
        shared = [shared, shared]
    object.__setattr__(claimed, "data", shared)

    assert queue.dead_letter(claimed, "\ud800\x00\n") is True
    assert len(queue.dead_letters(CHANNEL)) == 1


@pytest.mark.parametrize("name", NONSENSE)
def test_a_message_whose_fields_hold_anything_stops_no_other(queue, raw, name):
    for status in ("ready", "running", NONSENSE[name]):
        queue.push(CHANNEL, [("a", 1)], take_over=True)
        raw.hset(KEYS["item"], mapping=dict.fromkeys(FIELDS, NONSENSE[name]) | {"status": status})
        message = (claim(queue) or [honest(queue)])[0]
        for call in CALLS.values():
            call(queue, message)

    assert works_off_an_honest_message(queue)


def honest(queue):
    queue.push(CHANNEL, [("other", 1)])
    return next(message for message in claim(queue) if message.id == "other")


@pytest.mark.parametrize("name", NONSENSE)
def test_a_report_may_be_anything(queue, raw, name):
    queue.report("honest", {"began": 1.0})
    raw.hset(KEYS["worker"], "x_report", NONSENSE[name])
    raw.zadd(f"{PREFIX}:x:workers", {b"w": time.time(), NONSENSE[name]: time.time()})

    reports = {report.worker: report.status for report in queue.workers()}

    assert reports["honest"] == {"began": 1.0}
    assert set(reports) == {"honest", "w"}


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_holds_anything(queue, raw, field):
    for number, text in enumerate(NONSENSE.values()):
        queue.push(CHANNEL, [(f"m{number}", 1)])
        raw.hset(f"{PREFIX}:item:m{number}", field, text)

    for message in claim(queue, limit=100):
        queue.dead_letter(message, "for a test")

    assert works_off_an_honest_message(queue)


@pytest.mark.parametrize("kind", WRONG_TYPES)
@pytest.mark.parametrize("key", KEYS)
def test_a_key_of_any_type_stops_no_operation(queue, raw, key, kind):
    queue.push(CHANNEL, [("a", 1)])
    [message] = claim(queue)
    for call in CALLS.values():
        raw.delete(KEYS[key])
        WRONG_TYPES[kind](raw, KEYS[key])
        call(queue, message)
        queue.workers(), queue.seconds_to_next_expiry(), queue.has_lost_data()
        queue.expire_leases(["w"]), queue.requeue_dead_letters(CHANNEL), queue.write_marker()
        queue.report("w", {"began": 1.0})

    raw.delete(KEYS["item"])
    assert works_off_an_honest_message(queue)


def test_a_lease_of_a_key_that_is_not_ours_leaves_the_key_alone(queue, raw):
    raw.rpush("session:of:others", "a")
    raw.zadd(KEYS["leases"], {"session:of:others": 1, b"\xff:a:b": float("-inf"), "": 2})
    raw.hset(KEYS["waits"], "session:of:others", "w")

    queue.recover()
    queue.expire_leases(["w"])
    queue.missing(CHANNEL, ["a"])

    assert raw.lrange("session:of:others", 0, -1) == [b"a"]
    assert raw.zcard(KEYS["leases"]) == 0


@pytest.mark.parametrize("score", [float("inf"), float("-inf"), 1e308, -1e308, 0.5, 0, -0.0])
def test_a_prioritized_message_with_an_impossible_place_costs_itself_only(queue, raw, score):
    queue.push(CHANNEL, [("first", 1), ("last", 1)], priorities={"first": 1, "last": -1})
    names = [b"\xff", b"", b"x" * 100_000, b"first", b"plain"]
    raw.zadd(KEYS["priority"], dict.fromkeys(names, score))
    queue.push(CHANNEL, [("plain", 1), ("b", 1)], priorities={"b": 1})

    assert queue.waiting(CHANNEL) == 7
    found = [message.id for message in claim(queue)]

    assert sorted(found) == ["", "b", "first", "last", "plain", "\udcff"]
    assert found.index("b") < found.index("last")
    assert queue.waiting(CHANNEL) == queue.waiting(CHANNEL) == 0
    assert [letter["reason"] for letter in queue.dead_letters(CHANNEL)] == [
        "the id of the message has 100000 bytes"
    ]
    assert works_off_an_honest_message(queue)


@pytest.mark.parametrize("score", [float("inf"), float("-inf"), 1e308, -1e308])
def test_a_hint_with_an_impossible_time_costs_itself_only(queue, raw, score):
    raw.zadd(KEYS["due"], {b"\xff": score, b"x" * 100_000: score, b"honest": score})
    queue.push(CHANNEL, [("a", 1)])
    queue.push_hints(CHANNEL, [("b", 5.0)])

    assert [message.id for message in claim(queue)] == ["a"]
    assert works_off_an_honest_message(queue)


@pytest.mark.parametrize("score", [float("inf"), float("-inf"), 1e308, -1e308])
def test_a_worker_with_an_impossible_time_is_not_listed_before_others(queue, raw, score):
    queue.report("w", {"began": 1.0})
    raw.zadd(f"{PREFIX}:x:workers", {f"forged {number}": score for number in range(1100)})
    raw.hset(f"{PREFIX}:worker:forged 1", "x_report", "{}")

    assert [report.worker for report in queue.workers()] == ["w"]


def test_a_worker_with_an_odd_name_is_listed_in_one_printable_line(queue, raw):
    odd = b"\x1b[31m\n\xff" + b"n" * 1000
    raw.zadd(f"{PREFIX}:x:workers", {odd: time.time()})
    raw.hset(b"q:worker:" + odd, "x_report", "{}")

    [report] = queue.workers()

    assert report.worker.isprintable()
    assert report.worker.startswith(r"\x1b[31m\n")
    assert len(report.worker) < 400


def test_a_worker_with_an_endless_name_is_not_listed(queue, raw):
    raw.zadd(f"{PREFIX}:x:workers", {b"n" * 100_000: time.time()})
    raw.hset(b"q:worker:" + b"n" * 100_000, "x_report", "{}")

    assert queue.workers() == []


LETTERS = {
    **NONSENSE,
    "no letter": b"[]",
    "number": b"7",
    "no id": b'{"data": 1}',
    "id is no text": b'{"id": {"a": 1}, "channel": [], "reason": 7, "data": 1}',
    "time beyond": b'{"id": "a", "time": 1e300}',
    "huge time": b'{"id": "a", "time": ' + b"9" * 399 + b"}",
    "time is no number": b'{"id": "a", "time": NaN}',
    "long": b'{"id": "' + b"a" * 100_000 + b'"}',
    "long id": b'{"id": "' + b"a" * 9000 + b'", "data": 1}',
    "surrogate": b'{"id": "\\ud800", "data": 1}',
}


@pytest.mark.parametrize("name", LETTERS)
def test_a_bad_dead_letter_costs_itself_only(queue, raw, claimed, name):
    raw.lpush(KEYS["dead"], *[LETTERS[name]] * 150)
    queue.dead_letter(claimed, "honest")
    raw.lpush(KEYS["dead"], LETTERS[name])

    letters = queue.dead_letters(CHANNEL, limit=200)
    replayed = queue.requeue_dead_letters(CHANNEL)

    assert [letter["reason"] for letter in letters].count("honest") == 1
    assert len(letters) == 152
    for letter in letters:
        assert all(isinstance(letter[key], str) for key in ("id", "channel", "reason"))
        assert letter["time"] is None or 0 < letter["time"] < 1e12
        assert len(json.dumps(letter)) < 100_000
    assert replayed == 1
    assert queue.dead_letter_count(CHANNEL) == 151
    assert claim(queue)[0].data == {"id": 7}


def test_an_unreadable_letter_says_so(queue, raw):
    raw.lpush(KEYS["dead"], b"\xff{")

    [letter] = queue.dead_letters(CHANNEL)

    assert (letter["reason"], letter["raw"]) == (UNREADABLE, "\\xff{")
