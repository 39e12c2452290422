"""``python -m benchmarks.unique_tasks [--database postgres://user@host:port/name] [--blocks 60]``

What a unique key adds to the enqueuing of a task: the time of blocks of tasks with a key and
without, in turn in one run, one by one, in a transaction and in bulk; the statements of each; and
the time of a task that joins another. The median of the ratios of such pairs counts, so that other
load of the machine matters little. The exit code is 1 if a key adds more than 30 % to a task that
is enqueued alone, in a transaction or not. The program starts a Redis of its own and makes a
database named ``test_<name>`` on the server of the URL.
"""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.handovers import servers

_TASKS = 50  # of one block
_MAX_SHARE = 0.3


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.unique_tasks", description=__doc__)
    parser.add_argument("--database", default="sqlite:///unique", help="also postgres://, mysql://")
    parser.add_argument("--blocks", type=int, default=60, help="(%(default)s)")
    arguments = parser.parse_args()
    with servers(arguments.database):
        one_by_one, in_transactions, _ = _measure(arguments.blocks)
    return int(max(one_by_one, in_transactions) > _MAX_SHARE)


def _measure(blocks: int) -> Iterator[float]:
    """Print what a key costs in each way to enqueue; yield the shares."""
    models = _models()
    numbers = itertools.count()
    for way in (_one_by_one, _in_transactions, _in_bulk):
        pairs = [[_seconds(way, model, _names(numbers)) for model in models] for _ in range(blocks)]
        without, with_key = (statistics.median(s) / _TASKS for s in zip(*pairs, strict=True))
        share = statistics.median(of_unique / of_plain for of_plain, of_unique in pairs) - 1
        counts = [_statements(way, model, _names(numbers)) for model in models]
        print(
            f"{way.__name__.strip('_')}: {without * 1e6:.0f} us, with a key {with_key * 1e6:.0f} "
            f"us ({share:+.1%}); statements of {_TASKS}: {counts[0]}, with a key {counts[1]}"
        )
        yield share
    same = ["name 0"] * _TASKS
    joins = (
        statistics.median(_seconds(_one_by_one, models[1], same) for _ in range(blocks)) / _TASKS
    )
    print(f"a task that joins another: {joins * 1e6:.0f} us")


def _names(numbers: Iterator[int]) -> list[str]:
    """New ones, for a block."""
    return [f"name {number}" for number in itertools.islice(numbers, _TASKS)]


def _models() -> tuple[Any, Any]:
    """Two models of the same columns, but for the key; with their tables."""
    from django.db import connection, models

    from django_simpletask3.models import SimpleTask, UniqueTask
    from django_simpletask3.unique import Unique

    class Meta:
        app_label = "bench"

    def do_task(self: Any) -> None:
        """Do nothing."""

    columns = {"__module__": __name__, "Meta": Meta, "do_task": do_task}
    text = {"text": models.CharField(max_length=64)}
    plain: Any = type("PlainNote", (SimpleTask,), {**columns, **text})
    unique: Any = type(
        "UniqueNote",
        (UniqueTask,),
        {
            **columns,
            "text": models.CharField(max_length=64),
            "django_simpletask3_unique": Unique("{text}", on_conflict="join"),
        },
    )
    with connection.schema_editor() as editor:
        for model in (plain, unique):
            editor.create_model(model)
            editor.create_model(model.event_model)
    return plain, unique


def _seconds(way: Callable[[Any, list[str]], None], model: Any, names: list[str]) -> float:
    began = time.perf_counter()
    way(model, names)
    return time.perf_counter() - began


def _statements(way: Callable[[Any, list[str]], None], model: Any, names: list[str]) -> int:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as statements:
        way(model, names)
    return len(statements)


def _one_by_one(model: Any, names: list[str]) -> None:
    for name in names:
        model.objects.enqueue(text=name)


def _in_transactions(model: Any, names: list[str]) -> None:
    from django.db import transaction

    for name in names:
        with transaction.atomic():
            model.objects.enqueue(text=name)


def _in_bulk(model: Any, names: list[str]) -> None:
    model.objects.bulk_enqueue([{"text": name} for name in names])


if __name__ == "__main__":
    sys.exit(main())
