"""Encode values as JSON-like YAML that a stock client can read, and decode YAML within limits."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import yaml
from django.utils.functional import Promise

#: What is written and read; a text beyond is Undecodable. claim.lua knows the bytes of a body, too.
MAX_BYTES = 65_536
MAX_DEPTH = 100
#: Digits of a number; the time to convert them grows with their square.
MAX_DIGITS = 400
#: Values of one text that needs the YAML parser, which takes a kilobyte for each.
MAX_VALUES = 2_000
#: The same for a text that only PyYAML's own parser accepts, which is many times slower.
_MAX_SLOW_BYTES, _MAX_SLOW_VALUES = MAX_BYTES // 4, 200

_MAX_INTEGER_BITS = 1_328  # less than MAX_DIGITS digits
_MAX_SIMPLE_KEY = 1000  # a longer key needs a "?" in front of it in YAML
_UNREADABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_FAST_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_END = re.compile(rb"\n(?:\.\.\.\n)?\Z")
_INTEGER = re.compile(rb"-?(?:0|[1-9][0-9]{0,399})\Z")
_FLOAT = re.compile(rb"-?[0-9]{1,400}\.[0-9]{1,400}(?:e[+-][0-9]{1,400})?\Z")
_LONG_NUMBER = re.compile(rb"[0-9]{401}")
_UUID = re.compile(rb"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\Z")
_WORDS = {b"null": None, b"true": True, b"false": False}
_STATUSES = {b"ready", b"running", b"done", b"drop", b"canceling", b"canceled"}


_SHORT_KEY, _FEW, _LARGE = 100, 100, 2**63
_encode_json = json.JSONEncoder(ensure_ascii=False).encode


class Undecodable(ValueError):
    """The text is not valid YAML, contains other than plain values, or exceeds a limit."""


class _Budget:
    """How many bytes may still be written: a value that contains itself often has endless parts."""

    def __init__(self) -> None:
        self.remaining = MAX_BYTES

    def spend(self, size: int) -> None:
        self.remaining -= size
        if self.remaining < 0:
            raise ValueError(f"a message cannot carry more than {MAX_BYTES} bytes")


def dumps(value: object) -> str:
    """Encode ``value`` so that ``yaml.safe_load`` returns an equal value.

    A tuple becomes a list; UUID, Decimal and lazy strings become strings. Raises TypeError for a
    value that has no plain form, ValueError for one that ``loads`` would not read: longer than
    64 KiB, nested more than 100 levels deep (or in itself), a number of more than 400 digits.
    """
    text = _dumps_json(value) or _dumps(value, 0, _Budget())
    if len(text) > MAX_BYTES // 4:
        _Budget().spend(len(text.encode()))
    return text


def _dumps_json(value: object) -> str | None:
    """Encode a string, an integer or a dict of them as JSON, which is YAML as well; else None."""
    parts = value.items() if type(value) is dict else [("", value)]
    if len(parts) > _FEW:
        return None
    for key, item in parts:
        if type(key) is not str or len(key) > _SHORT_KEY:
            return None
        if type(item) is str:
            if len(item) > MAX_BYTES:
                return None
        elif type(item) is not int or abs(item) >= _LARGE:
            return None
    text = _encode_json(value)
    return None if _UNREADABLE.search(text) else text


def _dumps(value: object, depth: int, budget: _Budget) -> str:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        budget.spend(2)
        return _container(value, depth, budget)
    write = _SCALAR_WRITERS.get(type(value)) or _writer_for(value)
    text = write(value)
    budget.spend(len(text))
    return text


def _container(value: Any, depth: int, budget: _Budget) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_dumps(item, depth + 1, budget) for item in value) + "]"
    if isinstance(value, dict):
        return _dict(value, depth, budget)
    return "!!set {" + ", ".join(f"{_key(item, depth, budget)}: null" for item in value) + "}"


def _writer_for(value: object) -> Callable[[Any], str]:
    for value_type, write in _SCALAR_WRITERS.items():
        if isinstance(value, value_type):
            return write
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    raise TypeError(f"a message cannot carry {name}: use plain values, texts, lists and dicts")


def _integer(value: int) -> str:
    if value.bit_length() > _MAX_INTEGER_BITS:
        raise ValueError(f"a message cannot carry a number of more than {MAX_DIGITS} digits")
    return int.__repr__(value)


def _float(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    text = float.__repr__(value)
    # YAML 1.1 reads 1e+22 as a string: the mantissa needs a dot.
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


def _text(value: object) -> str:
    text = json.dumps(str(value), ensure_ascii=False)
    return _UNREADABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _key(value: object, depth: int, budget: _Budget) -> str:
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        raise TypeError(f"{type(value).__name__} cannot be a key or a member of a set in a message")
    text = _dumps(value, depth + 1, budget)
    return text if len(text) < _MAX_SIMPLE_KEY else f"? {text} "


def _dict(value: dict[Any, Any], depth: int, budget: _Budget) -> str:
    pairs = (f"{_key(k, depth, budget)}: {_dumps(v, depth + 1, budget)}" for k, v in value.items())
    return "{" + ", ".join(pairs) + "}"


def _bytes(value: Any) -> str:
    return f'!!binary "{base64.b64encode(value).decode()}"'


def _datetime(value: datetime) -> str:
    offset = value.utcoffset()
    if offset is not None and offset.total_seconds() % 60:
        value = value.astimezone(UTC)
    return f'!!timestamp "{value.isoformat()}"'


_SCALAR_WRITERS: dict[type, Callable[[Any], str]] = {
    str: _text,
    bool: lambda value: "true" if value else "false",
    int: _integer,
    float: _float,
    type(None): lambda _: "null",
    bytes: _bytes,
    bytearray: _bytes,
    datetime: _datetime,
    date: lambda value: f'!!timestamp "{value.isoformat()}"',
    UUID: _text,
    Decimal: _text,
    Promise: _text,
}


def loads(raw: bytes | str) -> Any:
    """Decode a YAML text to the value that ``yaml.safe_load`` returns.

    Raises Undecodable, a ValueError, if the text is invalid, contains other than plain values,
    refers to a part of itself, or exceeds a limit; what it costs to find that out is limited, too.
    """
    text = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    if len(text) > MAX_BYTES:
        raise Undecodable(f"not a YAML text of at most {MAX_BYTES} bytes: {text[:80]!r}")
    try:
        return _loads_simple(_END.sub(b"", text))
    except (ValueError, RecursionError):
        return _loads_yaml(text)


def loads_json(raw: bytes) -> Any:
    """Decode a JSON text; raises Undecodable as ``loads`` does."""
    try:
        if len(raw) > MAX_BYTES:
            raise ValueError(f"longer than {MAX_BYTES} bytes")
        value = json.loads(raw, parse_int=_short_integer)
        _reject_deeper_than(MAX_DEPTH + 1, value)  # a value that ``dumps`` writes, in an envelope
        return value
    except (ValueError, RecursionError) as problem:
        raise Undecodable(f"not a JSON value: {raw[:80]!r}") from problem


def _short_integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of more than {MAX_DIGITS} digits")
    return int(text)


def _loads_simple(text: bytes) -> Any:
    """Decode the most frequent forms without a YAML parser; raises ValueError for others."""
    # JSON joins two adjacent surrogates to one character, YAML does not.
    if text[:1] in b'"[{' and not _SURROGATE.search(text) and not _LONG_NUMBER.search(text):
        value = _JSON.decode(text.decode())
        if text.count(b"[") + text.count(b"{") > MAX_DEPTH:
            _reject_deeper_than(MAX_DEPTH, value)
        return value
    if text in _WORDS:
        return _WORDS[text]
    if text in _STATUSES or _UUID.match(text):
        return text.decode()
    if _INTEGER.match(text):
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    raise ValueError("not a simple form")


def _number(text: str) -> float:
    if not _FLOAT.match(text.encode()):
        raise ValueError(f"{text} is a string in YAML")
    return float(text)


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is a string in YAML")


_JSON = json.JSONDecoder(parse_float=_number, parse_constant=_constant)


def _loads_yaml(text: bytes) -> Any:
    try:
        # libyaml rejects lone surrogates, which PyYAML writes and reads.
        if not _SURROGATE.search(text):
            return _load(text, _FastLoader, MAX_VALUES)
        if len(text) <= _MAX_SLOW_BYTES:
            return _load(text, _SlowLoader, _MAX_SLOW_VALUES)
    except Exception as problem:  # of any class: a bad date, a bad number
        raise Undecodable(f"not a plain YAML value: {text[:80]!r}") from problem
    raise Undecodable(f"longer than a YAML text with surrogates may be: {text[:80]!r}")


def _load(text: bytes, loader: Any, max_values: int) -> Any:
    """Load ``text``; raise ValueError if its value would be endless, too deep or too large.

    The loader of libyaml recurses in C, where a deeply nested text would crash the process.
    """
    depth = count = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("refers to a part of itself")
        count += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH or count > max_values:
            raise ValueError(f"more than {MAX_DEPTH} levels or {max_values} values")
    return yaml.load(text, Loader=loader)  # noqa: S506 - the loaders are safe ones


def _reject_deeper_than(limit: int, value: object) -> None:
    level = [value]
    for _ in range(limit):
        level = [
            part
            for item in level
            if isinstance(item, list | dict)
            for part in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    if any(isinstance(item, list | dict) for item in level):
        raise ValueError(f"nested more than {limit} levels deep")


class _FastLoader(_FAST_LOADER):  # type: ignore[misc, valid-type]
    """The safe loader of libyaml, or PyYAML's own where that is missing."""


class _SlowLoader(yaml.SafeLoader):
    """PyYAML's own safe loader."""


def _limit_digits(name: str) -> None:
    """Let both loaders refuse long numbers; they count in base 60 and in hexadecimal, too."""
    tag = f"tag:yaml.org,2002:{name}"
    construct = yaml.SafeLoader.yaml_constructors[tag]

    def construct_short(loader: Any, node: yaml.ScalarNode) -> object:
        if len(node.value) > MAX_DIGITS:
            raise ValueError(f"a number of more than {MAX_DIGITS} digits")
        return construct(loader, node)

    _FastLoader.add_constructor(tag, construct_short)
    _SlowLoader.add_constructor(tag, construct_short)


for _name in ("int", "float", "timestamp"):
    _limit_digits(_name)
