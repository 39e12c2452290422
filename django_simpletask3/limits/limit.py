"""A limit, as a task model declares it."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..conf.column_template import ColumnTemplate
from .rate import Rate

if TYPE_CHECKING:
    from ..ledger.task_row import TaskRow

#: The columns of a gate and of its key are that long.
MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class Limit:
    """How many tasks run at once, over all nodes: ``Limit(2, key="{customer_id}")``.

    ``key`` is a template of columns of the task: at most ``running`` tasks of each key run at once;
    without it, of the model. A task of which one of these columns is None is not limited. ``rate``,
    such as "100/m", is how many of them start in any second (s), minute (m), hour (h) or day (d).
    Those that wait go on in turn among the values of ``fair_by``, another template, instead of in
    the order of their enqueuing. Models whose limits have the same ``name`` share it. Raises
    ValueError for what is no limit.
    """

    running: int | None = None
    key: str = ""
    fair_by: str = ""
    rate: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if self.running is not None or not self.rate:
            expected = "a number of at least 1" + (
                "" if self.rate else ', or none and a rate="100/m"'
            )
            _require(_is_number(self.running), "running", self.running, expected)
        expected = 'a number for a period, such as "100/m" (s, m, h or d)'
        _require(not self.rate or _is_rate(self.rate), "rate", self.rate, expected)
        is_name = len(self.name) <= MAX_NAME
        _require(is_name, "name", self.name, f"a text of at most {MAX_NAME} characters")
        for argument in ("key", "fair_by"):
            try:
                ColumnTemplate(getattr(self, argument))
            except ValueError as error:
                raise ValueError(f"{argument}: {error}") from None

    @property
    def parsed_rate(self) -> Rate | None:
        """The rate; None without one."""
        return Rate.parse(self.rate) if self.rate else None

    @property
    def templates(self) -> tuple[ColumnTemplate, ...]:
        """The templates of columns, parsed."""
        return tuple(ColumnTemplate(text) for text in (self.key, self.fair_by) if text)

    def key_of(self, task: TaskRow) -> uuid.UUID | None:
        """The hash of the key of ``task``; None if a column is None, which is not limited.

        Raises InvalidKey if a format does not fit a value.
        """
        text = self._fill_in(self.key, task)
        return None if text is None else _hash_of(text)

    def fair_key_of(self, task: TaskRow) -> uuid.UUID | None:
        """The hash of the value of ``fair_by`` of ``task``; None without that.

        Those of which a column is None share one. Raises InvalidKey as ``key_of`` does.
        """
        return _hash_of(self._fill_in(self.fair_by, task) or "") if self.fair_by else None

    def _fill_in(self, text: str, task: TaskRow) -> str | None:
        # Not above: settings that name a Limit are read before there are models.
        from ..transitions.keys import fields_in, key_of_task

        template = ColumnTemplate(text)
        return key_of_task(task, template, fields_in(type(task), template))


def _hash_of(text: str) -> uuid.UUID:
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


def _require(is_valid: bool, name: str, value: object, expected: str) -> None:
    if not is_valid:
        raise ValueError(f"{name} is {value!r}; expected {expected}.")
