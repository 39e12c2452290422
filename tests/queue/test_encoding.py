"""Encoded values are read identically by PyYAML and by ``loads``."""

from __future__ import annotations

import math
import random
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from uuid import UUID

import pytest
import yaml
from django.utils.functional import lazystr

from django_simpletask3.queue import Undecodable
from django_simpletask3.queue.encoding import MAX_DEPTH, dumps, loads

SEED = 20_000
WORDS = [
    "",
    " ",
    "null",
    "~",
    "yes",
    "no",
    "on",
    "1e5",
    "1e+22",
    "0x1F",
    "0o17",
    "1_000",
    "12:30:45",
]
WORDS += [
    ".nan",
    "-",
    "- a",
    "a: b",
    "# c",
    "<<",
    "=",
    "!!str",
    "&a",
    "*a",
    "%",
    "@",
    "`",
    "2026-01-02",
]
WORDS += [
    "'",
    '"',
    "\\",
    "\n",
    "\r\n",
    "\t",
    "\x00",
    "\x1b",
    "\x7f",
    "\x85",
    "\xa0",
    "\u2028",
    "\u2029",
]
WORDS += [
    "\ufeff",
    "\ufffe",
    "\uffff",
    "\U0001f600",
    "\U0001fffe",
    "\U0010ffff",
    "\ud800",
    "\udfff",
]
WORDS += ["\ud83d\ude00", "执行", "---", "...", "{", "[", ",", "?", "| x", "> y", "x" * 1500]


class Colour(StrEnum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


def identical(left, right):
    """Equal, of the same types all the way down; NaN is NaN."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return (math.isnan(left) and math.isnan(right)) or repr(left) == repr(right)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(identical, left, right))
    if isinstance(left, dict):
        keys = len(left) == len(right) and all(map(identical, left, right))
        return keys and all(identical(value, right[key]) for key, value in left.items())
    return left == right


def scalar(rng: random.Random):
    """A random scalar."""
    kind = rng.randrange(8)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.choice([0, -1, 7, 2**63, -(2**64), rng.randrange(-(10**9), 10**9)])
    if kind == 2:
        return rng.choice([0.0, -0.0, 1e22, 1e-7, 5e-324, math.inf, -math.inf, math.nan, 0.1])
    if kind == 3:
        return rng.uniform(-1, 1) * 10 ** rng.randrange(-300, 300)
    if kind == 4:
        return "".join(chr(rng.randrange(0x110000)) for _ in range(rng.randrange(6)))
    if kind == 5:
        return "".join(chr(rng.randrange(0x100)) for _ in range(rng.randrange(12)))
    return "".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 4)))


def key(rng: random.Random):
    found = scalar(rng)
    return "NaN equals nothing" if isinstance(found, float) and math.isnan(found) else found


def value(rng: random.Random, depth: int = 0):
    kind = rng.randrange(6) if depth < 3 else 9
    if kind == 0:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 1:
        return {key(rng): value(rng, depth + 1) for _ in range(rng.randrange(4))}
    return scalar(rng)


@pytest.mark.parametrize("part", range(4))
def test_twenty_thousand_values_are_read_back_identically(part):
    rng = random.Random(SEED + part)

    for _ in range(SEED // 4):
        sent = value(rng)
        text = dumps(sent).encode()
        assert identical(loads(text), sent), text
        assert identical(yaml.safe_load(text), sent), text


@pytest.mark.parametrize("part", range(2))
def test_what_a_stock_client_writes_is_read_identically(part):
    rng = random.Random(part)

    for _ in range(500):
        text = yaml.safe_dump(value(rng))
        assert identical(loads(text), yaml.safe_load(text)), text


@pytest.mark.parametrize(
    "text",
    [
        "1e5",
        "[1e5]",
        '{"a": 1e5}',
        "[NaN]",
        "[Infinity]",
        "[1E5, -1]",
        "[0.5e3]",
        "0123",
        "-0",
        "+1",
        "1_000",
        "yes",
        "[yes]",
        "12:30:45",
        "''",
        '"a" # b',
        "[1] # c",
        "{a: 1}",
        "ready",
        "",
        '"\\ud83d\\ude00"',
        '"\\x85\\e\\_"',
        '"a\n  b"',
        "12345678-1234-1234-1234-123456789012\n...\n",
        "- a\n- b\n",
        "a: 1\nb: 2\n",
        "|\n  x\n",
        "1.\n",
        ".5",
        "-.inf\n...\n",
        "1.5\n...\n",
        "{}",
        "[]",
    ],
)
def test_the_fast_path_reads_every_text_as_yaml_does(text):
    assert identical(loads(text), yaml.safe_load(text))


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ((1, (2,)), [1, [2]]),
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"ab"), b"ab"),
        ({1, "a", None}, {1, "a", None}),
        (frozenset([1]), {1}),
        (set(), set()),
        (date(2026, 1, 2), date(2026, 1, 2)),
        (datetime(2026, 1, 2, 3, 4, 5, 6), datetime(2026, 1, 2, 3, 4, 5, 6)),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.10"), "1.10"),
        pytest.param(lazystr("yes"), "yes", id="lazy"),
        (Colour.RED, "red"),
        (Number.ONE, 1),
        ({"d": date(2026, 1, 2), "b": [b"x"]}, {"d": date(2026, 1, 2), "b": [b"x"]}),
        ({date(2026, 1, 2): 1, b"k": 2}, {date(2026, 1, 2): 1, b"k": 2}),
    ],
)
def test_richer_values_are_read_in_their_plain_form(sent, read):
    text = dumps({"value": sent})

    assert identical(loads(text)["value"], read)
    assert identical(yaml.safe_load(text)["value"], read)


@pytest.mark.parametrize("minutes", [-690, -30, 0, 330, 825])
@pytest.mark.parametrize("seconds", [0, 17])
def test_a_time_in_any_zone_is_the_same_instant(minutes, seconds):
    zone = timezone(timedelta(minutes=minutes, seconds=seconds))
    sent = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=zone)

    assert yaml.safe_load(dumps(sent)) == sent


@pytest.mark.parametrize(
    "value",
    [
        object(),
        timedelta(1),
        {(1, 2): 3},
        {frozenset([1]): 2},
        {(1,)},
        range(3),
        1j,
        ValueError("x"),
    ],
)
def test_a_value_without_a_plain_form_is_refused(value):
    with pytest.raises(TypeError):
        dumps([value])


def test_a_value_in_itself_is_refused():
    push: list[object] = []
    push.append(push)

    with pytest.raises(ValueError, match="levels deep"):
        dumps(push)


def test_the_deepest_value_allowed_is_read_by_a_stock_client():
    deep: object = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]

    assert yaml.safe_load(dumps(deep)) == loads(dumps(deep)) == deep


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"'",
        b'"\\ud800',
        b"!!python/name:os.system ''",
        b"\xff\xfe\xff",
        b"\x00",
        b"a: b: c",
        b"!!timestamp x",
        b"2026-13-45",
        b"? [a]\n: 1",
        b"1" * 5000,
        b"a\n---\nb",
        b"[" * 100_000,
        b"- " * 100_000,
        b"{a: " * 100_000,
        b"*x",
        b"!!int ''",
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_broken_text_is_a_value_error(raw):
    with pytest.raises(Undecodable):
        loads(raw)
    with pytest.raises(ValueError, match="YAML"):
        loads(raw)
