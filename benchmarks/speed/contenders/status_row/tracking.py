"""How a task tells of itself in its row: once when it begins, and once when it has ended."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.utils import timezone

from benchmarks.speed.contenders.status_row.models import Entry, Status


@dataclass
class Outcome:
    """What the body says of its outcome."""

    result: object = None


@contextmanager
def track_row(pk: int) -> Iterator[Outcome]:
    """Two updates, each committed at once: running, then the outcome."""
    account = Outcome()
    _update(pk, status=Status.RUNNING, started_time=timezone.now())
    try:
        yield account
    except Exception as error:
        _finish(pk, status=Status.FAILED, error=repr(error))
        raise
    _finish(pk, status=Status.SUCCESS, result=json.dumps(account.result))


def _finish(pk: int, **outcome: str) -> None:
    _update(pk, finished_time=timezone.now(), **outcome)


def _update(pk: int, **values: object) -> None:
    Entry.objects.filter(pk=pk).update(**values)
