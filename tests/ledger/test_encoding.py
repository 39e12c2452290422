"""Any value becomes JSON text and comes back, or is marked; nothing raises."""

import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as clock_time
from decimal import Decimal
from time import process_time
from typing import Any
from uuid import UUID

import pytest
from django.utils.translation import gettext_lazy
from hypothesis import example, given
from hypothesis import strategies as st

from django_simpletask3.ledger.encoding import (
    TAG,
    decode,
    encode,
    from_json_value,
    safe_text,
    stored_value,
    to_json_value,
    type_name,
)
from tests.testapp.scripts import UNUSUAL_VALUES, UnprintableError, UnrepresentableResult

KEPT: dict[str, Any] = {
    "nothing": None,
    "true": True,
    "zero": 0,
    "minus zero": -0.0,
    "negative": -7,
    "beyond 64 bits": 2**200,
    "tiny": 5e-324,
    "text": "Zürich 中文 🎺",
    "lone surrogate": "a\ud800b",
    "NUL": "a\x00b",
    "line separators": "\u2028\u2029",
    "decimal": Decimal("1.10"),
    "decimal NaN": Decimal("sNaN"),
    "datetime": datetime(2024, 2, 29, 12, 30, 1, 5, tzinfo=UTC),
    "naive datetime": datetime(2024, 2, 29, 12, 30),
    "datetime elsewhere": datetime(2024, 2, 29, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    "date": date(1, 1, 1),
    "time": clock_time(23, 59, 59, 999999),
    "timedelta": timedelta(days=-3, microseconds=1),
    "uuid": UUID(int=7),
    "bytes": b"\x00\xff",
    "complex": complex(1.5, -0.0),
    "set": {1, "a", None},
    "frozenset": frozenset({"b", 2}),
    "list": [1, [2, [3]]],
    "dict": {"a": {"b": []}},
    "numbers as keys": {1: "a", 2.5: "b", None: "c"},
    "pairs as keys": {(1, 2): 3},
    "the tag as a key": {TAG: "decimal", "value": "1.5"},
    "the tag alone": {TAG: 1},
    "the tag of a marker": {TAG: "repr", "type": "object", "repr": "<object>"},
    "dates as keys": {date(2024, 1, 1): Decimal("0.1")},
    "infinity": math.inf,
    "nested": {"a": [Decimal("1"), {"b": {timedelta(1)}}]},
}
MARKED: dict[str, tuple[Any, str]] = {
    "object": (object(), "object"),
    "class": (UnprintableError, "type"),
    "function": (len, "builtin_function_or_method"),
    "hostile repr": (UnrepresentableResult(), "tests.testapp.scripts.UnrepresentableResult"),
    "huge int": (10**5000, "int"),
    "exception": (ValueError("returned"), "ValueError"),
    "bytearray": (bytearray(b"x"), "bytearray"),
}


class HostileDict(dict[Any, Any]):
    def items(self) -> Any:
        raise RuntimeError("no items")

    def __iter__(self) -> Any:
        raise RuntimeError("no keys")


class HostileList(list[Any]):
    def __iter__(self) -> Any:
        raise RuntimeError("no items")


class HostileText(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("no text")


class HostileClass:
    @property
    def __class__(self) -> Any:
        raise RuntimeError("no class")


class HostileAttributes:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no attributes")


NASTY: dict[str, Any] = {
    "hostile attributes": HostileAttributes(),
    "many quotes": '"' * 20_000,
    "hostile dict": HostileDict(a=1),
    "hostile list": HostileList([1]),
    "hostile text": HostileText("x"),
    "hostile class": HostileClass(),
    "hostile inside": [{"a": HostileText("x")}],
    **{f"unusual: {kind}": make() for kind, make in UNUSUAL_VALUES.items()},
}
EVERYTHING = {**KEPT, **{name: value for name, (value, _) in MARKED.items()}, **NASTY}

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(alphabet=st.characters(exclude_categories=[]))
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.datetimes()
    | st.dates()
    | st.timedeltas()
    | st.uuids()
    | st.sampled_from([TAG, "value", "decimal", "dict"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3) | st.just(TAG) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


def friends(number: int) -> list[dict[str, Any]]:
    """Every object refers to every other: there are more paths than could be written down."""
    people: list[dict[str, Any]] = [{"name": f"p{n}"} for n in range(number)]
    for person in people:
        person["friends"] = [other for other in people if other is not person]
    return people


def doubled(levels: int) -> list[Any]:
    """A short value that is long when it is written."""
    value: list[Any] = ["x"]
    for _ in range(levels):
        value = [value, value]
    return value


@pytest.mark.parametrize("name", KEPT)
def test_what_can_be_kept_comes_back_as_it_was(name: str) -> None:
    value = KEPT[name]

    back = decode(encode(value))

    if name == "decimal NaN":
        assert repr(back) == repr(value)
    else:
        assert back == value
        assert type(back) is type(value)


def test_not_a_number_comes_back() -> None:
    back = decode(encode([math.nan, -math.inf]))

    assert math.isnan(back[0])
    assert back[1] == -math.inf


def test_a_translation_is_kept_in_the_words_of_now() -> None:
    assert decode(encode(gettext_lazy("Yes"))) == "Yes"


def test_pairs_come_back_as_lists() -> None:
    assert decode(encode((1, (2, 3)))) == [1, [2, 3]]


def test_a_subclass_comes_back_as_what_it_is_built_on() -> None:
    class Text(str):
        __slots__ = ()

    class Number(int):
        pass

    back = decode(encode([Text("a"), Number(2)]))

    assert [type(item) for item in back] == [str, int]


@pytest.mark.parametrize("name", MARKED)
def test_what_cannot_be_kept_is_marked_with_its_type_and_its_words(name: str) -> None:
    value, kind = MARKED[name]

    back = decode(encode(value))

    assert (back[TAG], back["type"]) == ("repr", kind)
    assert name in ("hostile repr", "huge int") or back["repr"] == repr(value)


@pytest.mark.parametrize("name", NASTY)
def test_nothing_raises_and_everything_is_json_in_ascii(name: str) -> None:
    text = encode(NASTY[name], limit=10_000)

    assert text.isascii()
    assert "\x00" not in text
    json.loads(text, parse_constant=pytest.fail)
    assert len(text) <= 10_000


@pytest.mark.parametrize("name", EVERYTHING)
def test_a_value_that_was_read_is_written_as_the_same_text(name: str) -> None:
    text = encode(EVERYTHING[name], limit=10_000)

    again = encode(decode(text), limit=10_000)

    assert again == text


@given(values)
def test_any_value_of_known_kinds_comes_back(value: Any) -> None:
    text = encode(value)

    assert decode(text) == value
    assert encode(decode(text)) == text


#: JSON makes one character of two surrogates.
_any_text = st.text(st.characters(exclude_categories=()), max_size=4)
_any_data = st.dictionaries(
    _any_text, _any_text | st.floats() | st.none() | st.dictionaries(_any_text, values, max_size=3)
)


@example({"pair": "\ud83d\ude00"}, None)
@given(_any_data | _any_text | values, st.sampled_from([None, 256, 300, 10_000]))
def test_a_stored_value_is_what_is_read_back(value: Any, limit: int | None) -> None:
    stored = stored_value(value, limit=limit)

    assert repr(stored) == repr(decode(encode(value, limit=limit)))
    assert type(stored) is type(decode(encode(value, limit=limit)))


def test_a_stored_value_is_a_copy_of_its_own() -> None:
    value = {"a": {"b": 1}}

    stored = stored_value(value, limit=10_000)
    value["a"]["b"] = 2

    assert stored == {"a": {"b": 1}}


@given(values)
def test_a_value_survives_as_json(value: Any) -> None:
    words = json.loads(json.dumps(to_json_value(value)))

    assert from_json_value(words) == value


def test_a_circle_ends_where_it_closes() -> None:
    push: list[Any] = [1]
    push.append({"again": push})

    back = decode(encode(push))

    assert back[0] == 1
    assert back[1]["again"][TAG] == "repr"


def test_the_same_value_twice_is_no_circle() -> None:
    shared = {"a": 1}

    assert decode(encode([shared, shared])) == [shared, shared]


ENDLESS = {
    "friends": friends(30),
    "doubled": doubled(90),
    "dicts": {"a": doubled(60), "b": {"c": doubled(50)}},
    "bytes": [b"x" * 1_000_000] * 10_000,
    "numbers": [2**9000] * 1_000_000,
    "sets": [frozenset(range(1000))] * 100_000,
}


@pytest.mark.parametrize("value", ENDLESS.values(), ids=ENDLESS)
def test_a_value_with_endless_ways_through_is_reported_to_an_end(value: Any) -> None:
    began = process_time()

    text = encode(value, limit=1_000_000)

    mark = decode(text)
    assert mark[TAG] == "truncated"
    assert 1_000_000 < mark["size"] < 6_000_000
    assert process_time() - began < 5


@given(values, st.integers(256, 600))
def test_a_value_is_kept_whole_or_marked(value: Any, limit: int) -> None:
    value = [value] * 5
    whole = encode(value)

    text = encode(value, limit=limit)

    assert text == whole if len(whole) <= limit else decode(text)[TAG] == "truncated"


ITEMS: dict[str, Any] = {
    "nine": 9,
    "zero": 0,
    "negative": -1,
    "long": 2**9999,
    "too long": 10**3100,
    "float": 0.5,
    "true": True,
    "none": None,
    "text": "",
    "list": [],
    "dict": {},
    "bytes": b"",
}


@pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS)
def test_a_list_that_just_fits_is_kept_whole(item: Any) -> None:
    for count in (1, 20, 50):
        whole = encode([item] * count)

        assert encode([item] * count, limit=len(whole)) == whole


@pytest.mark.parametrize("levels", [99, 100, 101, 100_000])
def test_a_pit_is_reported_down_to_a_certain_depth(levels: int) -> None:
    pit: list[Any] = []
    for _ in range(levels):
        pit = [pit]

    text = encode(pit)

    assert (decode(text) == pit) if levels < 100 else (TAG in text)


def test_a_text_as_long_as_the_limit_is_kept_and_a_longer_one_is_cut_and_marked() -> None:
    value = "x" * 298

    kept, cut = encode(value, limit=300), encode(value + "y", limit=300)

    assert decode(kept) == value
    assert decode(cut) == {TAG: "truncated", "size": 301, "head": f'"{"x" * 99}'}


@pytest.mark.parametrize("limit", [1, 10, 100, 1000])
def test_a_cut_text_may_hold_escapes_and_is_json_all_the_same(limit: int) -> None:
    text = encode({"é\x00": "\ud800" * 1000}, limit=limit)

    assert decode(text)[TAG] == "truncated"
    assert encode(decode(text), limit=limit) == text


@pytest.mark.parametrize("text", ["", "no json", "{", "[" * 100_000, '{"a":'])
def test_a_text_that_is_no_json_is_itself(text: str) -> None:
    assert decode(text) == text


@pytest.mark.parametrize(
    "kind", ["decimal", "datetime", "uuid", "bytes", "timedelta", "complex", "set", "dict", "none"]
)
@pytest.mark.parametrize("value", [None, "x", [None], {"a": 1}, [[1]], -1], ids=repr)
def test_a_tag_that_lies_is_left_as_it_is(kind: str, value: Any) -> None:
    lie = {TAG: kind, "value": value}

    back = decode(json.dumps(lie))

    assert back == lie or not isinstance(back, dict)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("plain", "plain"),
        (UnprintableError(), "tests.testapp.scripts.UnprintableError"),
        ("a\x00b", "a\\x00b"),
        ("a\ud800b", "a\\ud800b"),
        (b"\xff", "b'\\xff'"),
        ("x" * 5000, "x" * 4096),
    ],
    ids=["plain", "unprintable", "NUL", "surrogate", "bytes", "long"],
)
def test_any_value_has_a_text_that_databases_accept(value: Any, said: str) -> None:
    assert safe_text(value) == said


def test_a_type_is_named_with_its_module_unless_it_is_built_in() -> None:
    names = [type_name(1), type_name(Decimal(1)), type_name(UnprintableError())]

    assert names == ["int", "decimal.Decimal", "tests.testapp.scripts.UnprintableError"]
