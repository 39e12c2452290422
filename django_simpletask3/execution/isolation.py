"""Tasks that must run alone, because the processes that ran them were lost twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from ..ledger.task_row import table_model, write_database
from ..models.losses import losses_of
from ..models.task import SimpleTask
from ..states import Status

#: Asks for a process of its own for a task; False if it cannot have one.
RunAlone = Callable[[SimpleTask], bool]

_MIN_LOSSES = 2


def may_have_to_run_alone(task: SimpleTask) -> bool:
    """Whether ``set_aside`` would ask the database about ``task``, which waits."""
    return task.attempt >= _MIN_LOSSES


def set_aside(tasks: Iterable[SimpleTask], run_alone: RunAlone | None) -> set[SimpleTask]:
    """Those of ``tasks`` that must run alone and will; without ``run_alone`` none.

    One query for each table, and none unless a task was started twice before.
    """
    suspects: dict[tuple[type[SimpleTask], str], list[SimpleTask]] = defaultdict(list)
    for task in tasks if run_alone else ():
        if task.status == Status.PENDING and may_have_to_run_alone(task):
            suspects[table_model(type(task)), write_database(task)].append(task)
    return {
        task
        for (root, using), group in suspects.items()
        for task in _lost_twice(root, using, group)
        if run_alone and run_alone(task)
    }


def _lost_twice(root: type[SimpleTask], using: str, tasks: list[SimpleTask]) -> list[SimpleTask]:
    losses = losses_of(root, using, [task.pk for task in tasks])
    return [task for task in tasks if losses[task.pk].processes >= _MIN_LOSSES]
