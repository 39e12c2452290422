"""Values of any kind as JSON text and back: what JSON cannot say is tagged, nothing raises."""

from __future__ import annotations

import base64
import json
import math
import traceback
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import takewhile
from typing import Any, TypeVar
from uuid import UUID

from django.utils.functional import Promise

T = TypeVar("T")

#: The key that marks a value JSON has no word for: {TAG: kind, ...}.
TAG = "__simpletask3__"

_MAX_DEPTH = 100
_REPR_LIMIT = 4096
_MAX_INTEGER_BITS = 10_000
#: How many times its limit the texts of a value are read before it is cut: what is read to the end
#: has its true size in the mark.
_TEXT_FACTOR = 4
_MARK_SIZE = 100
_TAG_SIZE = len(TAG)
_UNLIMITED = 1 << 26
#: Bytes of text that are never cut.
_UNCUT_SIZE = 256

_WRITERS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    Decimal: ("decimal", str),
    datetime: ("datetime", datetime.isoformat),
    date: ("date", date.isoformat),
    time: ("time", time.isoformat),
    timedelta: ("timedelta", lambda v: [v.days, v.seconds, v.microseconds]),
    UUID: ("uuid", str),
    bytes: ("bytes", lambda v: base64.b64encode(v).decode()),
    complex: ("complex", lambda v: [repr(v.real), repr(v.imag)]),
}
_READERS: dict[str, Callable[[Any], Any]] = {
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
    "dict": lambda pairs: {_as_hashable(key): value for key, value in pairs},
}


#: How large a value may be that is not looked at item by item.
_PLAIN_DEPTH, _PLAIN_ITEMS, _PLAIN_LENGTH, _PLAIN_INTEGER = 2, 16, 100, 2**63
#: How JSON writes a text.
quote: Callable[[str], str] = json.encoder.encode_basestring_ascii


class TaggedValue(dict[str, Any]):
    """The mark that stands for a value that could not be kept; it is written as it was read."""


class WholeDict(dict[str, Any]):
    """A dict that is written whole, whatever the limit; it is read as a plain one."""


class _Budget:
    """How many characters of texts, and of JSON at the least, may still be written.

    The second ends a value that has endless ways through itself: what it has taken so far is
    longer than the limit already, however short the rest may be.
    """

    def __init__(self, limit: int) -> None:
        self._texts, self._least = limit * _TEXT_FACTOR, limit
        #: The containers around what is written now, by ``id()``.
        self.ancestors: set[int] = set()

    def spend(self, least: int, text: str = "") -> None:
        """Take what a value needs: ``least`` characters of JSON, and a ``text``."""
        self._least -= least
        self._texts -= len(text)

    @property
    def is_left(self) -> bool:
        return self._least >= 0 and self._texts > 0


def encode(value: object, *, limit: int | None = None) -> str:
    """``value`` as ASCII JSON text; never raises.

    A value of an unknown, cyclic or too deeply nested kind becomes ``{TAG: "repr", ...}``; a text
    longer than ``limit`` bytes becomes ``{TAG: "truncated", "size": ..., "head": ...}``, unless it
    is of 256 bytes or less, or ``value`` is a WholeDict. The size of what is far too long is that
    of what was looked at.
    """
    plain = plain_text(value)
    if plain is not None and (limit is None or len(plain) <= max(limit, _UNCUT_SIZE)):
        return plain
    # A mark was cut when it was made.
    if limit is None or type(value) in (TaggedValue, WholeDict):
        return _dumps(to_json_value(value))
    limit = max(limit, _UNCUT_SIZE)
    text = _dumps(to_json_value(value, limit=limit))
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


def stored_value(value: Any, *, limit: int | None) -> Any:
    """``value`` as it is when it was written with ``encode`` and read back; a copy of its own."""
    plain = plain_text(value)
    if plain is None or (limit is not None and len(plain) > limit):
        return decode(encode(value, limit=limit))
    return _copy_plain(value)


def exact_value(value: Any, *, limit: int) -> Any:
    """As ``stored_value``; raises ValueError if JSON would hold a mark, or more than ``limit``.

    A tuple becomes a list, and instances of subclasses those of built-in types.
    """
    written = to_json_value(value, limit=limit)
    if (mark := _first_mark(written)) is not None:
        raise ValueError(f"JSON cannot hold a value of type {mark['type']}.")
    text = _dumps(written)
    if len(text) > limit:
        raise ValueError(f"its value has more than {limit} bytes of JSON.")
    return decode(text)


def _first_mark(written: Any) -> Any:
    """The first mark, of several, that stands for a value of which only the ``repr()`` is kept."""
    if isinstance(written, dict):
        if written.get(TAG) == "repr":
            return written
        written = written.values()
    elif not isinstance(written, list):
        return None
    return next((mark for mark in map(_first_mark, written) if mark is not None), None)


def to_json_value(value: Any, *, limit: int = _UNLIMITED) -> Any:
    """``value`` as JSON values, with tags; never raises. Stops when it is longer than ``limit``."""
    if plain_text(value) is not None:
        return value
    try:
        return _to_json_value(value, _Budget(limit))
    except Exception:
        return {TAG: "repr", "type": type_name(value), "repr": ""}


def from_json_value(value: Any) -> Any:
    """The value that ``to_json_value`` was given, from what it returned."""
    if isinstance(value, list):
        return [from_json_value(item) for item in value]
    if isinstance(value, dict):
        return _untag({key: from_json_value(item) for key, item in value.items()})
    return value


def safe_text(value: object, *, limit: int = _REPR_LIMIT) -> str:
    """``str(value)`` as text any database and terminal accepts, cut to ``limit``; never raises."""
    if type(value) is str and value.isascii() and "\x00" not in value:
        return value[:limit]
    for render in (str, repr, type_name):
        try:
            text = render(value)
            break
        except Exception:  # noqa: S112 - the next way of saying it is tried
            continue
    return text[:limit].encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def traceback_text(error: BaseException, *, limit: int) -> str:
    """The end of the traceback of ``error``, as ``safe_text``; never raises."""
    try:
        lines = "".join(traceback.format_exception(error))
    except Exception:
        lines = ""
    return safe_text(lines[-limit:], limit=limit)


def type_name(value: object) -> str:
    """The qualified name of the class of ``value``."""
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"


_dumps: Callable[[Any], str] = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def plain_text(value: Any, *, is_sorted: bool = False, _depth: int = _PLAIN_DEPTH) -> str | None:
    """``value`` as JSON text that is read as it is; None if that is not known without more ado.

    It is known of what is small, of built-in types, without tags. Most data of events are: without
    this shortcut a drain is a fifth slower. With ``is_sorted``, keys are in order.
    """
    kind = type(value)
    if kind is str:
        # Of two surrogates, JSON makes one character.
        is_short = len(value) <= _PLAIN_LENGTH and (value.isascii() or value.isprintable())
        return quote(value) if is_short else None
    if kind is dict:
        if _depth <= 0 or len(value) > _PLAIN_ITEMS or TAG in value:
            return None
        parts = {}
        for key, item in value.items():
            name = _plain_key(key) if type(key) is str else None
            text = plain_text(item, is_sorted=is_sorted, _depth=_depth - 1)
            if name is None or text is None:
                return None
            parts[key] = f"{name}:{text}"
        is_reordered = is_sorted and len(parts) > 1
        ordered = map(parts.__getitem__, sorted(parts)) if is_reordered else parts.values()
        return f"{{{','.join(ordered)}}}"
    if kind is int:
        return str(value) if -_PLAIN_INTEGER < value < _PLAIN_INTEGER else None
    if kind is float:
        return repr(value) if math.isfinite(value) else None
    return _WORDS[value] if value is None or kind is bool else None


#: Keys are few.
_plain_key = lru_cache(maxsize=1000)(plain_text)
_WORDS = {None: "null", True: "true", False: "false"}


def _copy_plain(value: Any) -> Any:
    """A copy of a value that has a ``plain_text``."""
    if type(value) is not dict:
        return value
    return {key: _copy_plain(item) for key, item in value.items()}


def _to_json_value(value: Any, budget: _Budget) -> Any:
    if value is None or isinstance(value, bool):
        budget.spend(4)
        return value
    if isinstance(value, int):
        return _integer(value, budget)
    if isinstance(value, float):
        budget.spend(3)
        number = float(value)
        return number if math.isfinite(number) else {TAG: "float", "value": repr(number)}
    if isinstance(value, str | Promise):
        return _text(value, budget)
    if type(value) in _WRITERS:
        name, write = _WRITERS[type(value)]
        return {TAG: name, "value": _spent(write(value), budget)}
    if isinstance(value, dict | list | tuple | set | frozenset):
        return _container(value, budget)
    return _describe(value, budget)


def _spent(written: Any, budget: _Budget) -> Any:
    budget.spend(_TAG_SIZE, written if isinstance(written, str) else "")
    return written


def _text(value: object, budget: _Budget) -> str:
    text = str(value)
    budget.spend(2, text)
    return text


def _integer(value: int, budget: _Budget) -> Any:
    bits = value.bit_length()
    if bits <= _MAX_INTEGER_BITS:
        budget.spend(1 + max(0, bits - 1) * 3 // 10)  # a digit has 3.3 bits
        return int(value)
    # Python refuses to write integers of more than some thousand digits.
    budget.spend(_TAG_SIZE)
    return {TAG: "repr", "type": "int", "repr": hex(value)[:64]}


def _container(value: Any, budget: _Budget) -> Any:
    ancestors = budget.ancestors
    if id(value) in ancestors or len(ancestors) >= _MAX_DEPTH + isinstance(value, TaggedValue):
        # Not its repr(): that goes the same endless ways.
        budget.spend(_TAG_SIZE)
        return {TAG: "repr", "type": type_name(value), "repr": "..."}
    ancestors.add(id(value))
    budget.spend(2)
    written = _mapping(value, budget) if isinstance(value, dict) else _items(value, budget)
    ancestors.discard(id(value))
    return written


def _items(value: Any, budget: _Budget) -> Any:
    items = [_to_json_value(item, budget) for item in _take_within_budget(value, budget)]
    if isinstance(value, list | tuple):
        return items
    name = "set" if isinstance(value, set) else "frozenset"
    return {TAG: name, "value": sorted(items, key=_dumps)}


def _mapping(value: dict[Any, Any], budget: _Budget) -> Any:
    items = _take_within_budget(value.items(), budget)
    if isinstance(value, TaggedValue) or (
        TAG not in value and all(isinstance(k, str) for k in value)
    ):
        return {_text(key, budget): _to_json_value(item, budget) for key, item in items}
    pairs = [[_to_json_value(key, budget), _to_json_value(item, budget)] for key, item in items]
    return {TAG: "dict", "value": pairs}


def _take_within_budget(items: Iterable[T], budget: _Budget) -> Iterator[T]:
    return takewhile(lambda _: budget.is_left, items)


def _describe(value: object, budget: _Budget) -> dict[str, str]:
    try:
        text = repr(value)[:_REPR_LIMIT]
    except Exception:
        text = ""
    budget.spend(_TAG_SIZE, text)
    return {TAG: "repr", "type": type_name(value), "repr": text}


def _untag(value: dict[str, Any]) -> Any:
    tag = value.get(TAG)
    if not isinstance(tag, str):
        return value
    if tag not in _READERS or "value" not in value:
        return TaggedValue(value)
    try:
        return _READERS[tag](value["value"])
    except Exception:
        return value


def _as_hashable(key: Any) -> Any:
    return tuple(key) if isinstance(key, list) else key


_loads: Callable[[str], Any] = json.JSONDecoder(object_hook=_untag).decode
