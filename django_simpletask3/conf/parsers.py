"""How the raw value of a setting becomes a usable one, or is refused."""

from __future__ import annotations

import json
import math
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """How a raw value becomes a usable one; ``cast`` raises ValueError or the like if not."""

    expected: str
    cast: Callable[[Any], T]


def _number(raw: Any) -> float:
    if isinstance(raw, bool):
        raise TypeError
    number = float(raw)
    if not math.isfinite(number):
        raise ValueError
    return number


def _seconds(raw: Any) -> float:
    number = _number(raw)
    if number <= 0:
        raise ValueError
    return number


def _count(raw: Any) -> int:
    number = _number(raw)
    if number < 1 or number != int(number):
        raise ValueError
    return int(number)


def _whole_seconds(raw: Any) -> int:
    return max(1, math.ceil(_seconds(raw)))


def _text(raw: Any) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise ValueError
    return raw.strip()


def _action(raw: Any) -> str:
    if raw not in ("recover", "drop"):
        raise ValueError
    return str(raw)


def _policies(raw: Any) -> dict[str, dict[str, Any]]:
    loaded = json.loads(raw) if isinstance(raw, str) and raw.strip() else raw
    if not loaded:
        return {}
    return {str(channel): _policy(policy) for channel, policy in _mapping(loaded).items()}


def _policy(raw: Any) -> dict[str, Any]:
    casts: dict[str, Callable[[Any], Any]] = {"running_timeout": _seconds, "action": _action}
    return {key: casts[key](value) for key, value in _mapping(raw).items()}


def _mapping(raw: Any) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise TypeError
    return raw


def template(**examples: Any) -> Callable[[Any], str]:
    def cast(raw: Any) -> str:
        text = _text(raw)
        named = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
        if named != set(examples):
            raise ValueError
        text.format(**examples)
        return text

    return cast


SECONDS = Kind("a positive number of seconds", _seconds)
WHOLE_SECONDS = Kind("a positive number of seconds", _whole_seconds)
COUNT = Kind("a whole number, 1 or more", _count)
TEXT = Kind("a text that is not empty", _text)
ACTION = Kind('"recover" or "drop"', _action)
POLICIES = Kind(
    'a dict (JSON in the environment) like {"channel": {"running_timeout": 10, "action": "drop"}}',
    _policies,
)
