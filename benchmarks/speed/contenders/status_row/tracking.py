"""Record a task in its own row: once at the start, and once at the end."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.utils import timezone

from benchmarks.speed.contenders.status_row.models import Entry, Status


@dataclass
class Outcome:
    """The outcome of a task function."""

    result: object = None


@contextmanager
def track_row(pk: int) -> Iterator[Outcome]:
    """Update the row twice, each in its own commit: running, then the outcome."""
    outcome = Outcome()
    _update(pk, status=Status.RUNNING, started_time=timezone.now())
    try:
        yield outcome
    except Exception as error:
        _finish(pk, status=Status.FAILED, error=repr(error))
        raise
    _finish(pk, status=Status.SUCCESS, result=json.dumps(outcome.result))


def _finish(pk: int, **values: str) -> None:
    _update(pk, finished_time=timezone.now(), **values)


def _update(pk: int, **values: object) -> None:
    Entry._default_manager.filter(pk=pk).update(**values)
