"""Parsers of raw settings."""

from __future__ import annotations

import json
import math
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, slots=True)
class Parser(Generic[T]):
    """Parses a raw value; ``parse`` raises ValueError or the like for an unusable one."""

    expected: str
    parse: Callable[[Any], T]


def _parse_number(raw: Any) -> float:
    if isinstance(raw, bool):
        raise TypeError
    number = float(raw)
    if not math.isfinite(number):
        raise ValueError
    return number


def _parse_seconds(raw: object) -> float:
    number = _parse_number(raw.total_seconds() if isinstance(raw, timedelta) else raw)
    if number <= 0:
        raise ValueError
    return number


def _parse_count(raw: object) -> int:
    number = _parse_number(raw)
    if number < 1 or number != int(number):
        raise ValueError
    return int(number)


def _parse_whole_seconds(raw: object) -> int:
    return max(1, math.ceil(_parse_seconds(raw)))


def _parse_text(raw: object) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise ValueError
    return raw.strip()


def _parse_action(raw: object) -> str:
    if raw not in ("recover", "drop"):
        raise ValueError
    return str(raw)


def _parse_policies(raw: object) -> dict[str, dict[str, Any]]:
    mapping = json.loads(raw) if isinstance(raw, str) and raw.strip() else raw
    if not mapping:
        return {}
    return {str(c): _parse_policy(policy) for c, policy in _require_mapping(mapping).items()}


def _parse_policy(raw: object) -> dict[str, Any]:
    parsers: dict[str, Callable[[Any], Any]] = {
        "running_timeout": _parse_seconds,
        "action": _parse_action,
    }
    return {key: parsers[key](value) for key, value in _require_mapping(raw).items()}


def _parse_paths(raw: object) -> tuple[str, ...]:
    paths = raw.split(",") if isinstance(raw, str) and raw.strip() else raw or ()
    if not isinstance(paths, list | tuple):
        raise TypeError
    return tuple(map(_parse_text, paths))


def _parse_flag(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    if not isinstance(raw, str):
        raise TypeError
    return _FLAGS[raw.strip().lower()]


def _require_mapping(raw: object) -> Mapping[str, object]:
    if not isinstance(raw, Mapping):
        raise TypeError
    return raw


def template_parser(**examples: Any) -> Callable[[Any], str]:
    def parse(raw: object) -> str:
        text = _parse_text(raw)
        field_names = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
        if field_names != set(examples):
            raise ValueError
        text.format(**examples)
        return text

    return parse


SECONDS = Parser("a positive number of seconds, or a timedelta", _parse_seconds)
WHOLE_SECONDS = Parser("a positive number of seconds, or a timedelta", _parse_whole_seconds)
COUNT = Parser("a whole number, 1 or more", _parse_count)
TEXT = Parser("a text that is not empty", _parse_text)
ACTION = Parser('"recover" or "drop"', _parse_action)
POLICIES = Parser(
    'a dict (JSON in the environment) like {"channel": {"running_timeout": 10, "action": "drop"}}',
    _parse_policies,
)
PATHS = Parser("a list of dotted paths (in the environment with commas between them)", _parse_paths)
FLAG = Parser("True or False (in the environment also 1 or 0, yes or no)", _parse_flag)
