"""What a schedule says: when, with which fields, and what happens to missed ticks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _

from .ticks import Ticks, parse_ticks

#: The columns of the keys and of the expression are that long.
MAX_KEY = 100
MAX_EXPRESSION = 255

#: The fields of the task of a tick, or a function that is called with the tick for them.
Fields = Mapping[str, Any] | Callable[[datetime], Mapping[str, Any]]


class CatchUp(TextChoices):
    """What happens to ticks that no node fired in time, because none was running."""

    LAST = "last", _("the last one is made up for")
    SKIP = "skip", _("none is made up for")
    ALL = "all", _("all are made up for, at most 100")


class Overlap(TextChoices):
    """What happens at a tick if the task of the last one has not ended."""

    ALLOW = "allow", _("the next task is enqueued")
    SKIP = "skip", _("the tick is skipped")


@dataclass(frozen=True, slots=True)
class Definition:
    """A schedule as code declares it, with values that may be wrong: ``faults()`` says which."""

    when: Any
    timezone: Any = None
    fields: Any = field(default_factory=dict)
    name: Any = ""
    catch_up: Any = CatchUp.LAST
    overlap: Any = Overlap.ALLOW
    jitter: Any = 0.0
    deadline: Any = None
    version: Any = 0

    @property
    def zone(self) -> Any:
        """The name of the time zone: ``TIME_ZONE`` unless it was given."""
        return settings.TIME_ZONE if self.timezone is None else self.timezone

    @property
    def is_computed(self) -> bool:
        """Whether a function is called for the fields."""
        return callable(self.fields)

    @property
    def jitter_seconds(self) -> float:
        return in_seconds(self.jitter)

    @property
    def deadline_seconds(self) -> float | None:
        return None if self.deadline is None else in_seconds(self.deadline)

    def parse_ticks(self) -> Ticks:
        """The ticks; raises ValueError if ``when`` or ``timezone`` is wrong."""
        return parse_ticks(self.when, self.zone)

    def fields_at(self, tick: datetime) -> dict[str, Any]:
        """The fields of the task of ``tick``, which a function is given in the schedule's zone."""
        if not callable(self.fields):
            return dict(self.fields)
        fields = self.fields(tick)
        if not isinstance(fields, Mapping):
            raise TypeError(f"fields returned {fields!r}, which is no mapping of fields")
        return dict(fields)

    def faults(self) -> Iterator[tuple[str, str]]:
        """What is wrong, and how to mend it; nothing of the fields, which the target knows."""
        yield from self._faults_of_time()
        if self.catch_up not in CatchUp.values:
            yield f"catch_up is {self.catch_up!r}.", f"Write one of {_listed(CatchUp)}."
        if self.overlap not in Overlap.values:
            yield f"overlap is {self.overlap!r}.", f"Write one of {_listed(Overlap)}."
        for name, value, least in (("jitter", self.jitter, 0), ("deadline", self.deadline, 1)):
            if value is not None and not is_duration(value, least):
                hint = f"Write a timedelta, or a number of seconds, of at least {least}."
                yield f"{name} is {value!r}.", hint
        if isinstance(self.version, bool) or not isinstance(self.version, int) or self.version < 0:
            yield f"version is {self.version!r}.", "Write a whole number, 0 or more."
        if not callable(self.fields) and not isinstance(self.fields, Mapping):
            hint = "Write a dict of the columns of the new task, or a function of the tick."
            yield f"fields is {self.fields!r}.", hint

    def _faults_of_time(self) -> Iterator[tuple[str, str]]:
        hint = 'Write five fields, such as "0 6 * * mon-fri", or a timedelta of a second or more.'
        if not isinstance(self.when, str | timedelta):
            yield f"The first argument is {self.when!r}.", hint
        elif not isinstance(self.zone, str):
            yield f"timezone is {self.zone!r}.", 'Write its name, such as "Europe/Berlin".'
        elif isinstance(self.when, str) and len(self.when) > MAX_EXPRESSION:
            yield f"The expression is longer than {MAX_EXPRESSION} characters.", hint
        else:
            try:
                self.parse_ticks()
            except ValueError as error:
                zone_hint = 'Write its name, such as "Europe/Berlin".'
                yield f"{_sentence(str(error))}.", zone_hint if "time zone" in str(error) else hint


def fields_as_json(fields: Mapping[str, Any]) -> Any:
    """The fields as the row of a schedule keeps them; raises TypeError for what JSON has not."""
    return json.loads(json.dumps(dict(fields), cls=DjangoJSONEncoder))


def digest_of(values: Mapping[str, Any]) -> str:
    """A text that differs if one of the values does."""
    text = json.dumps(dict(values), cls=DjangoJSONEncoder, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def in_seconds(duration: timedelta | float) -> float:
    """A duration as a number of seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else float(duration)


def is_duration(value: object, least: float) -> bool:
    """Whether ``value`` is a timedelta or a number of seconds of at least ``least`` seconds."""
    if isinstance(value, bool) or not isinstance(value, timedelta | int | float):
        return False
    return least <= in_seconds(value) < timedelta.max.total_seconds()


def jitter_of(key: str, seconds: float) -> timedelta:
    """By how much tasks of the schedule ``key`` start later: always the same, below ``seconds``.

    Schedules with different keys are spread evenly.
    """
    share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    return timedelta(seconds=share * seconds)


def _listed(choices: type[TextChoices]) -> str:
    return ", ".join(f'"{value}"' for value in choices.values)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
