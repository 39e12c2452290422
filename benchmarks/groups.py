"""``python -m benchmarks.groups [--database postgres://user@host:port/name] [--tasks 10000]``

A group of many tasks and one that waits for them: how long the insert, the ends and the release
take, with how many statements, and how long one transaction holds the row of the group. The ends
are recorded in batches of 20, as finishers do, and compared with those of tasks that are not
prerequisites, in turn in one run. Then the same for many tasks that wait for one. The program
starts a Redis of its own and makes a database named ``test_<name>`` on the server of the URL.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

from benchmarks.handovers import servers

_BATCH = 20  # ends that one transaction records


class _Statements:
    """Counts statements, and measures from the lock of a group until the end of its transaction."""

    def __init__(self) -> None:
        self.count = 0
        self.longest = 0.0
        self._locked_at = 0.0

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.count += 1
        found = execute(sql, params, many, context)
        if "prerequisitegroup" in sql and ("FOR UPDATE" in sql or sql.startswith("UPDATE")):
            self._locked_at = self._locked_at or time.monotonic()
        return found

    def end_transaction(self) -> None:
        if self._locked_at:
            self.longest = max(self.longest, time.monotonic() - self._locked_at)
            self._locked_at = 0.0


@contextmanager
def _measured(name: str) -> Iterator[None]:
    from django.db import connection

    statements, commit = _Statements(), connection.commit

    def commit_and_note() -> None:
        commit()
        statements.end_transaction()

    began = time.monotonic()
    with (
        connection.execute_wrapper(statements),
        mock.patch.object(connection, "commit", commit_and_note),
    ):
        yield
    seconds = time.monotonic() - began
    lock = f", longest lock {statements.longest * 1000:.1f} ms" if statements.longest else ""
    print(f"{name}: {seconds:.2f} s, {statements.count} statements{lock}", flush=True)


def _record_ends(tasks: Sequence[Any], begun: dict[Any, Any]) -> None:
    from django_simpletask3.states import EventKind
    from django_simpletask3.transitions.best_effort import apply_each
    from django_simpletask3.transitions.transition import Transition

    for first in range(0, len(tasks), _BATCH):
        batch = tasks[first : first + _BATCH]
        apply_each(
            [
                Transition(task, EventKind.ACK, worker="w", last_known_row=begun[task.pk])
                for task in batch
            ]
        )


def _start(tasks: Sequence[Any]) -> dict[Any, Any]:
    from django_simpletask3.states import EventKind
    from django_simpletask3.transitions.best_effort import apply_each
    from django_simpletask3.transitions.transition import Transition, known_row

    for first in range(0, len(tasks), 500):
        batch = tasks[first : first + 500]
        apply_each([Transition(task, EventKind.START, worker="w") for task in batch])
    return {task.pk: known_row(task) for task in tasks}


def _measure(count: int) -> None:
    from benchmarks.speed.shop.models import Noop
    from benchmarks.speed.shop.models import PrerequisiteNoop as Step
    from django_simpletask3.dependencies import group
    from django_simpletask3.recovery.dependents import serve_all

    def enqueue(to_enqueue: Callable[[], Any], name: str) -> Any:
        with _measured(name):
            return to_enqueue()

    plain = enqueue(
        lambda: Noop.objects.bulk_enqueue(Noop() for _ in range(count)),
        f"insert {count} tasks",
    )
    *members, summary = enqueue(
        group(*(Step() for _ in range(count))).then(Step()).enqueue,
        f"insert a group of {count} and one that waits",
    )
    begun = {**_start(plain)}, {**_start(members)}
    with _measured(f"record {count} ends"):
        _record_ends(plain, begun[0])
    with _measured(f"record {count} ends of a group"):
        _record_ends(members, begun[1])
    summary.refresh_from_db()
    assert summary.status == 0, summary.status
    first, *dependents = enqueue(
        group(Step()).then(*(Step() for _ in range(count))).enqueue,
        f"insert {count} that wait for one",
    )
    begun_one = _start([first])
    with _measured(f"end of a task, and the first of {count} that wait for it"):
        _record_ends([first], begun_one)
    with _measured("release of the rest by maintenance"):
        serve_all()
    assert not Step.objects.filter(pk__in=[task.pk for task in dependents[:500]]).blocked().exists()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.groups", description=__doc__)
    parser.add_argument("--database", default="sqlite:///groups", help="also postgres://, mysql://")
    parser.add_argument("--tasks", type=int, default=10_000, help="(%(default)s)")
    options = parser.parse_args()
    with servers(options.database):
        _measure(options.tasks)
    return 0


if __name__ == "__main__":
    sys.exit(main())
