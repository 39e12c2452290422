"""A limit, as a task model declares it."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from string import Formatter

from .rate import Rate

#: The columns of a gate and of its key are that long.
MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class Limit:
    """How many tasks run at once, over all nodes: ``Limit(2, key="{customer_id}")``.

    ``key`` is a template of columns of the task: at most ``running`` tasks of each key run at once;
    without it, of the model. ``rate``, such as "100/m", is how many of them start in any second
    (s), minute (m), hour (h) or day (d). Those that wait go on in turn among the values of
    ``fair_by``, another template, instead of in the order of their enqueuing. Models whose limits
    have the same ``name`` share it. Raises ValueError for what is no limit.
    """

    running: int | None = None
    key: str = ""
    fair_by: str = ""
    rate: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if self.running is not None or not self.rate:
            _require(_is_number(self.running), "running", self.running, "a number of at least 1")
        expected = 'a number for a period, such as "100/m" (s, m, h or d)'
        _require(not self.rate or _is_rate(self.rate), "rate", self.rate, expected)
        is_name = len(self.name) <= MAX_NAME
        _require(is_name, "name", self.name, f"a text of at most {MAX_NAME} characters")
        for argument in ("key", "fair_by"):
            value = getattr(self, argument)
            expected = 'a text that names columns in braces, such as "{customer_id}"'
            _require(not value or _is_template(value), argument, value, expected)

    @property
    def parsed_rate(self) -> Rate | None:
        """The rate; None without one."""
        return Rate.parse(self.rate) if self.rate else None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the templates name."""
        return (*_columns_in(self.key), *_columns_in(self.fair_by))

    def key_of(self, task: object) -> uuid.UUID:
        """The hash of the key of ``task``."""
        return _hash_of(self.key, task)

    def fair_key_of(self, task: object) -> uuid.UUID | None:
        """The hash of the value of ``fair_by`` of ``task``; None without that."""
        return _hash_of(self.fair_by, task) if self.fair_by else None


def _hash_of(template: str, task: object) -> uuid.UUID:
    text = template.format(**{name: getattr(task, name) for name in _columns_in(template)})
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    # MariaDB refuses a UUID without a version.
    return uuid.UUID(bytes=digest[:16], version=5)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_rate(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(Rate.parse(value))
    except ValueError:
        return False


def _columns_in(template: str) -> tuple[str, ...]:
    return tuple(name for _, name, _, _ in Formatter().parse(template) if name is not None)


def _is_template(template: object) -> bool:
    try:
        names = _columns_in(template) if isinstance(template, str) else ()
    except ValueError:
        return False
    return bool(names) and all(map(str.isidentifier, names))


def _require(is_valid: bool, name: str, value: object, expected: str) -> None:
    if not is_valid:
        raise ValueError(f"{name} is {value!r}; expected {expected}.")
