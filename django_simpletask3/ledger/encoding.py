"""Values of any kind as JSON text and back: what JSON cannot say is tagged, nothing raises."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import takewhile
from typing import Any, TypeVar
from uuid import UUID

from django.utils.functional import Promise

T = TypeVar("T")

#: The key that marks a value JSON has no word for: {TAG: kind, ...}.
TAG = "__simpletask3__"

_MAX_DEPTH = 100
_REPR_LIMIT = 4096
_MOST_BITS = 10_000
#: How many times its limit a value is written before it is cut: what is read to the end has its
#: true size in the mark, and a value with endless ways through itself comes to an end.
_BEYOND = 4
_MARK_SIZE = 100
_UNLIMITED = 1 << 26
#: Bytes of text that are never cut.
_FITS = 256
_TOO_MUCH = _FITS + 1
_SIMPLE_DEPTH = 4
_MOST_SIMPLE = 1 << 63

_WRITE: dict[type, tuple[str, Callable[[Any], Any]]] = {
    Decimal: ("decimal", str),
    datetime: ("datetime", datetime.isoformat),
    date: ("date", date.isoformat),
    time: ("time", time.isoformat),
    timedelta: ("timedelta", lambda v: [v.days, v.seconds, v.microseconds]),
    UUID: ("uuid", str),
    bytes: ("bytes", lambda v: base64.b64encode(v).decode()),
    complex: ("complex", lambda v: [repr(v.real), repr(v.imag)]),
}
_READ: dict[str, Callable[[Any], Any]] = {
    "decimal": Decimal,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda v: timedelta(*v),
    "uuid": UUID,
    "bytes": base64.b64decode,
    "complex": lambda v: complex(float(v[0]), float(v[1])),
    "float": float,
    "set": set,
    "frozenset": frozenset,
    "dict": lambda pairs: {_hashable(key): value for key, value in pairs},
}


class Marked(dict[str, Any]):
    """The mark that stands for a value that could not be kept; it is written as it was read."""


class _Budget:
    """How many words may still be written of one value."""

    def __init__(self, words: int) -> None:
        self.left = words


def encode(value: Any, *, limit: int | Callable[[], int] | None = None) -> str:
    """``value`` as ASCII JSON text; never raises.

    A value of an unknown, cyclic or too deeply nested kind becomes ``{TAG: "repr", ...}``; a text
    longer than ``limit`` bytes becomes ``{TAG: "truncated", "size": ..., "head": ...}``, unless it
    is of 256 bytes or less. The size of what is far too long is that of what was looked at.
    """
    if limit is None or type(value) is Marked:  # a mark was cut when it was made
        return _dumps(plain(value))
    if is_simple(value):
        return _dumps(value)
    if not isinstance(limit, int):
        limit = limit()
    text = _dumps(plain(value, words=limit * _BEYOND))
    if len(text) <= limit:
        return text
    head = text[: max(0, limit - _MARK_SIZE) // 2]  # escaped once more, it may be twice as long
    return _dumps({TAG: "truncated", "size": len(text), "head": head})


def decode(text: str) -> Any:
    """The value that ``encode`` was given; a text that is not JSON is returned as it is."""
    try:
        return _loads(text)
    except (ValueError, RecursionError):
        return text


def kept(value: Any, *, limit: int | Callable[[], int]) -> Any:
    """``value`` as it is when it was written with ``encode`` and read back; a copy of its own."""
    return _copied(value) if is_simple(value) else decode(encode(value, limit=limit))


def is_simple(value: Any) -> bool:
    """Whether JSON says ``value`` just as it is, in 256 bytes or less: most are like that."""
    return _bound(value, _SIMPLE_DEPTH, _FITS) <= _FITS


def _bound(value: Any, depth: int, left: int) -> int:
    """What the JSON text of a simple value cannot exceed; more than fits if it is not simple.

    Ends as soon as it is more than is ``left``: a value may have endless ways through itself.
    """
    kind = type(value)
    if kind is str:
        return 2 + len(value) * (2 if value.isascii() and value.isprintable() else 12)
    if value is None or kind is bool:
        return 5
    if kind is int:
        return 20 if -_MOST_SIMPLE < value < _MOST_SIMPLE else _TOO_MUCH
    if kind is float:
        return 25 if math.isfinite(value) else _TOO_MUCH
    if depth <= 0 or (kind is not dict and kind is not list) or len(value) >= left:
        return _TOO_MUCH
    return (_bound_of_dict if kind is dict else _bound_of_list)(value, depth - 1, left)


def _bound_of_list(value: list[Any], depth: int, left: int) -> int:
    total = 2
    for item in value:
        total += 1 + _bound(item, depth, left - total)
        if total > left:
            return _TOO_MUCH
    return total


def _bound_of_dict(value: dict[Any, Any], depth: int, left: int) -> int:
    total = 2
    for key, item in value.items():
        if type(key) is not str or key == TAG:
            return _TOO_MUCH
        total += 2 + _bound(key, 0, left) + _bound(item, depth, left - total)
        if total > left:
            return _TOO_MUCH
    return total


def _copied(value: Any) -> Any:
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if type(value) is list else value


def plain(value: Any, *, words: int = _UNLIMITED) -> Any:
    """``value`` in words of JSON, with tags; never raises. After ``words`` words it breaks off."""
    if is_simple(value):
        return value
    try:
        return _plain(value, (), _Budget(words))
    except Exception:
        return {TAG: "repr", "type": type_name(value), "repr": ""}


def restored(value: Any) -> Any:
    """What ``plain`` was given, from what it returned."""
    if isinstance(value, list):
        return [restored(item) for item in value]
    if isinstance(value, dict):
        return _untagged({key: restored(item) for key, item in value.items()})
    return value


def safe_text(value: Any, *, limit: int = _REPR_LIMIT) -> str:
    """``str(value)`` as text any database and terminal accepts, cut to ``limit``; never raises."""
    if type(value) is str and value.isascii() and "\x00" not in value:
        return value[:limit]
    for words in (str, repr, type_name):
        try:
            text = words(value)
            break
        except Exception:  # noqa: S112 - the next way of saying it is tried
            continue
    return text[:limit].encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def type_name(value: Any) -> str:
    """The qualified name of the class of ``value``."""
    kind = type(value)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


_dumps: Callable[[Any], str] = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def _plain(value: Any, above: tuple[int, ...], budget: _Budget) -> Any:
    budget.left -= 1
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        number = float(value)
        return number if math.isfinite(number) else {TAG: "float", "value": repr(number)}
    if isinstance(value, str | Promise):
        return _text(value, budget)
    if type(value) in _WRITE:
        name, write = _WRITE[type(value)]
        return {TAG: name, "value": write(value)}
    if isinstance(value, dict | list | tuple | set | frozenset):
        return _container(value, above, budget)
    return _described(value)


def _text(value: Any, budget: _Budget) -> str:
    text = str(value)
    budget.left -= len(text)
    return text


def _integer(value: int) -> Any:
    # Python refuses to write integers of more than some thousand digits.
    return (
        int(value)
        if value.bit_length() <= _MOST_BITS
        else {TAG: "repr", "type": "int", "repr": hex(value)[:64]}
    )


def _container(value: Any, above: tuple[int, ...], budget: _Budget) -> Any:
    if id(value) in above or len(above) >= _MAX_DEPTH + isinstance(value, Marked):
        # Not its repr(): that goes the same endless ways.
        return {TAG: "repr", "type": type_name(value), "repr": "..."}
    above = (*above, id(value))
    if isinstance(value, dict):
        return _mapping(value, above, budget)
    items = [_plain(item, above, budget) for item in _affordable(value, budget)]
    if isinstance(value, list | tuple):
        return items
    name = "set" if isinstance(value, set) else "frozenset"
    return {TAG: name, "value": sorted(items, key=_dumps)}


def _mapping(value: dict[Any, Any], above: tuple[int, ...], budget: _Budget) -> Any:
    items = _affordable(value.items(), budget)
    if isinstance(value, Marked) or (TAG not in value and all(isinstance(k, str) for k in value)):
        return {_text(key, budget): _plain(item, above, budget) for key, item in items}
    pairs = [[_plain(key, above, budget), _plain(item, above, budget)] for key, item in items]
    return {TAG: "dict", "value": pairs}


def _affordable(items: Iterable[T], budget: _Budget) -> Iterator[T]:
    return takewhile(lambda _: budget.left > 0, items)


def _described(value: Any) -> dict[str, str]:
    try:
        text = repr(value)[:_REPR_LIMIT]
    except Exception:
        text = ""
    return {TAG: "repr", "type": type_name(value), "repr": text}


def _untagged(value: dict[str, Any]) -> Any:
    tag = value.get(TAG)
    if not isinstance(tag, str):
        return value
    if tag not in _READ or "value" not in value:
        return Marked(value)
    try:
        return _READ[tag](value["value"])
    except Exception:
        return value


def _hashable(key: Any) -> Any:
    return tuple(key) if isinstance(key, list) else key


_loads: Callable[[str], Any] = json.JSONDecoder(object_hook=_untagged).decode
