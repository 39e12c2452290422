"""Encode values as JSON-like YAML that a stock client can read, and decode YAML."""

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

MAX_DEPTH = 100
MAX_READ_DEPTH = 300

_MAX_SIMPLE_KEY = 1000  # a longer key needs a "?" in front of it in YAML
_UNREADABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_FAST_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_END = re.compile(rb"\n(?:\.\.\.\n)?\Z")
_INTEGER = re.compile(rb"-?(?:0|[1-9][0-9]{0,4000})\Z")
_FLOAT = re.compile(rb"-?[0-9]+\.[0-9]+(?:e[+-][0-9]+)?\Z")
_UUID = re.compile(rb"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\Z")
_WORDS = {b"null": None, b"true": True, b"false": False}
_STATUSES = {b"ready", b"running", b"done", b"drop", b"canceling", b"canceled"}


_SHORT_KEY = 100
_encode_json = json.JSONEncoder(ensure_ascii=False).encode


class Undecodable(ValueError):
    """The text is not valid YAML, or contains other than plain values."""


def dumps(value: object) -> str:
    """Encode ``value`` so that ``yaml.safe_load`` returns an equal value.

    A tuple becomes a list; UUID, Decimal and lazy strings become strings. Raises TypeError for a
    value that has no plain form, ValueError if it is nested more than 100 levels deep (or in
    itself).
    """
    return _dumps_json(value) or _dumps(value, 0)


def _dumps_json(value: object) -> str | None:
    """Encode a string, an integer or a dict of them as JSON, which is YAML as well; else None."""
    parts = value.items() if type(value) is dict else [("", value)]
    for key, item in parts:
        if type(key) is not str or len(key) > _SHORT_KEY:
            return None
        if type(item) is not str and type(item) is not int:
            return None
    text = _encode_json(value)
    return None if _UNREADABLE.search(text) else text


def _dumps(value: object, depth: int) -> str:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
    write = _WRITERS.get(type(value)) or _writer_for(value)
    return write(value, depth)


def _writer_for(value: object) -> Callable[[object, int], str]:
    for value_type, write in _WRITERS.items():
        if isinstance(value, value_type):
            return write
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    raise TypeError(f"a message cannot carry {name}: use plain values, texts, lists and dicts")


def _float(value: float, _: int) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    text = float.__repr__(value)
    # YAML 1.1 reads 1e+22 as a string: the mantissa needs a dot.
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


def _text(value: object, _: int) -> str:
    text = json.dumps(str(value), ensure_ascii=False)
    return _UNREADABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _list(value: Any, depth: int) -> str:
    return "[" + ", ".join(_dumps(item, depth + 1) for item in value) + "]"


def _key(value: object, depth: int) -> str:
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        raise TypeError(f"{type(value).__name__} cannot be a key or a member of a set in a message")
    text = _dumps(value, depth + 1)
    return text if len(text) < _MAX_SIMPLE_KEY else f"? {text} "


def _dict(value: Any, depth: int) -> str:
    pairs = (f"{_key(k, depth)}: {_dumps(v, depth + 1)}" for k, v in value.items())
    return "{" + ", ".join(pairs) + "}"


def _set(value: Any, depth: int) -> str:
    return "!!set {" + ", ".join(f"{_key(item, depth)}: null" for item in value) + "}"


def _bytes(value: Any, _: int) -> str:
    return f'!!binary "{base64.b64encode(value).decode()}"'


def _datetime(value: datetime, _: int) -> str:
    offset = value.utcoffset()
    if offset is not None and offset.total_seconds() % 60:
        value = value.astimezone(UTC)
    return f'!!timestamp "{value.isoformat()}"'


_WRITERS: dict[type, Callable[[Any, int], str]] = {
    str: _text,
    bool: lambda value, _: "true" if value else "false",
    int: lambda value, _: int.__repr__(value),
    float: _float,
    type(None): lambda _, __: "null",
    dict: _dict,
    list: _list,
    tuple: _list,
    bytes: _bytes,
    bytearray: _bytes,
    datetime: _datetime,
    date: lambda value, _: f'!!timestamp "{value.isoformat()}"',
    set: _set,
    frozenset: _set,
    UUID: _text,
    Decimal: _text,
    Promise: _text,
}


def loads(raw: bytes | str) -> Any:
    """Decode a YAML text to the value that ``yaml.safe_load`` returns.

    Raises Undecodable, a ValueError, if the text is invalid or contains other than plain values.
    """
    text = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    try:
        return _loads_simple(_END.sub(b"", text))
    except (ValueError, RecursionError):
        return _loads_yaml(text)


def _loads_simple(text: bytes) -> Any:
    """Decode the most frequent forms without a YAML parser; raises ValueError for others."""
    if text in _WORDS:
        return _WORDS[text]
    if text in _STATUSES or _UUID.match(text):
        return text.decode()
    if _INTEGER.match(text):
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    # JSON joins two adjacent surrogates to one character, YAML does not.
    if text[:1] in b'"[{' and not _SURROGATE.search(text):
        return _JSON.decode(text.decode())
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
        if _nesting(text) > MAX_READ_DEPTH:
            _reject_deeper_than(MAX_READ_DEPTH, text)
        # libyaml rejects lone surrogates, which PyYAML writes and reads.
        loader = yaml.SafeLoader if _SURROGATE.search(text) else _FAST_LOADER
        return yaml.load(text, Loader=loader)  # noqa: S506 - both loaders are the safe ones
    except Exception as problem:  # of any class: a bad date, a bad number
        raise Undecodable(f"not a plain YAML value: {text[:80]!r}") from problem


def _nesting(text: bytes) -> int:
    """An upper bound of the nesting depth, cheap to compute."""
    return sum(text.count(mark) for mark in (b"[", b"{", b"- ", b"-\n", b": ", b":\n", b"? "))


def _reject_deeper_than(limit: int, text: bytes) -> None:
    # The loader of libyaml recurses in C: a deeply nested text would crash the process.
    depth = 0
    for event in yaml.parse(text, Loader=_FAST_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > limit:
            raise ValueError(f"nested more than {limit} levels deep")
