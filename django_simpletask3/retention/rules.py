"""Parse ``django_simpletask3_retention``: how long a task model keeps its finished tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from ..ledger.tombstone import PruneTarget
from ..states import FINAL, Status

#: The key for the streams of deleted tasks.
DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Rule:
    """Prune ``target`` of tasks that have had ``status`` for ``age``; None: of deleted tasks."""

    target: PruneTarget
    status: Status | None
    age: timedelta

    def __str__(self) -> str:
        name = DELETED if self.status is None else self.status.name
        return f"{self.target} of {name} after {self.age}"


def parse_rules(declared: object) -> list[Rule]:
    """Return the rules in ``declared``; none if it is None. Raises ValueError if it is invalid.

    Rules for payloads come first: a task that is due for both is erased, then deleted.
    """
    if declared is None:
        return []
    if not isinstance(declared, Mapping):
        raise ValueError(f"it is {declared!r}; write a mapping of final statuses to ages")
    parsed_rules = [
        rule
        for key, value in declared.items()
        for rule in _parse_status_rules(_parse_status(key), value)
    ]
    return sorted(parsed_rules, key=lambda rule: rule.target is not PruneTarget.PAYLOAD)


def _parse_status_rules(status: Status | None, value: object) -> list[Rule]:
    delete_target = PruneTarget.STREAM if status is None else PruneTarget.TASK
    if not isinstance(value, Mapping):
        return [Rule(delete_target, status, _parse_age(value))]
    steps = {} if status is None else {"erase": PruneTarget.PAYLOAD}
    steps["delete"] = delete_target
    if not value or (unknown := value.keys() - steps):
        listing = ", ".join(sorted(map(str, unknown))) if value else "nothing"
        raise ValueError(f"it has {listing}; the steps are {' and '.join(steps)}")
    return [Rule(steps[step], status, _parse_age(age)) for step, age in value.items()]


def _parse_status(key: object) -> Status | None:
    if key == DELETED:
        return None
    if isinstance(key, int) and type(key) in (int, Status) and key in FINAL:
        return Status(key)
    names = ", ".join(f"Status.{status.name}" for status in sorted(FINAL))
    raise ValueError(f"{key!r} is not a final status; the keys are {names} and {DELETED!r}")


def _parse_age(value: object) -> timedelta:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = timedelta(seconds=value)
    if isinstance(value, timedelta) and value > timedelta(0):
        return value
    raise ValueError(f"{value!r} is not an age; write a timedelta, or seconds, above 0")
