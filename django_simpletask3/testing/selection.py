"""The tasks that a helper for tests is about, in the databases that the test may use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from django.db import connections, models
from django.db.models import Q
from django.db.models.functions import Coalesce, Greatest
from django.test import testcases

from ..conf.time_source import stored
from ..control import command_database
from ..db import clock
from ..db.limited_queries import capped_counts, first_rows, key_as_text
from ..db.loading import load_tasks
from ..ledger.task_row import table_model, task_name, write_database
from ..models.queryset import rows_of
from ..models.registry import is_mirror, tables_in, task_databases, task_models
from ..models.task import SimpleTask
from ..states import UNFINISHED, Status

T = TypeVar("T")

_TIME: Any = models.DateTimeField()
#: ``check_at`` of a row whose message the queue has lost. In the row, so that the end of a test
#: undoes it; an event after which a message is pushed writes another time.
_WITHOUT_MESSAGE = datetime(9999, 1, 1, tzinfo=UTC)

Table = tuple[type[SimpleTask], str]


class Key(NamedTuple):
    """A row: the model that has its table, its database and its key."""

    root: type[SimpleTask]
    using: str
    pk: Any

    @property
    def table(self) -> Table:
        return self.root, self.using

    @classmethod
    def of(cls, task: Any) -> Key:
        return cls(table_model(type(task)), write_database(task), task.pk)

    @classmethod
    def of_event(cls, task: Any, event: Any) -> Key:
        """The key of ``task`` when ``event`` was recorded: the instance may have lost it since."""
        return cls.of(task)._replace(pk=event.task_id)


def load_all(keys: Iterable[Key]) -> dict[Key, Any]:
    """The tasks by their keys, as instances of the models that they were saved as."""
    by_table: dict[Table, list[Any]] = {}
    for key in keys:
        by_table.setdefault(key.table, []).append(key.pk)
    return {
        Key(*table, task.pk): task
        for table, pks in by_table.items()
        for task in load_tasks(*table, pks)
    }


class Selection:
    """Some task models, with their subclasses, and some tasks."""

    def __init__(self, models_or_tasks: Iterable[Any]) -> None:
        wanted = list(models_or_tasks)
        classes = tuple(checked_model(w) for w in wanted if isinstance(w, type))
        self.tasks = [_checked(w) for w in wanted if not isinstance(w, type)]
        self.keys = {Key.of(task) for task in self.tasks}
        self.models = {model for model in task_models() if issubclass(model, classes)}
        self.databases = [using for using in task_databases() if _is_usable(using)]

    @classmethod
    def of(cls, models_or_tasks: Iterable[Any]) -> Selection:
        """Of these models and tasks; all tasks of all models if there are none."""
        return cls(list(models_or_tasks) or [SimpleTask])

    def include(self, key: Key) -> None:
        """Add the task of ``key``."""
        self.keys.add(key)

    def refresh(self) -> None:
        """Read the tasks again, unless they were deleted."""
        for task in self.tasks:
            with suppress(type(task).DoesNotExist):
                task.refresh_from_db(using=Key.of(task).using)

    def tables(self) -> Iterator[Table]:
        """The tables that may have rows of the selection, with their databases."""
        roots = {table_model(model) for model in self.models}
        for using in self.databases:
            with_keys = {key.root for key in self.keys if key.using == using}
            for root in tables_in(using, roots | with_keys):
                yield root, using

    def unfinished_tables(self) -> set[Table]:
        """The tables in which tasks of the selection may be unfinished; a query per database."""
        queries = {table: self.rows(table).filter(status__in=UNFINISHED) for table in self.tables()}
        found: set[Table] = set()
        for using, by_table in by_database(queries).items():
            counts = capped_counts(using, by_table, 1)
            found |= {table for table, count in counts.items() if count}
        return found

    def rows(self, table: Table) -> Any:
        """The rows of ``table`` that may be of the selection; ``has`` tells which are."""
        root, using = table
        rows = rows_of(root, using)
        if any(table_model(model) is root for model in self.models):
            return rows
        return rows.filter(pk__in=[k.pk for k in self.keys if k.table == table])

    def has(self, task: Any) -> bool:
        """Whether ``task`` is of the selection."""
        return type(task) in self.models or Key.of(task) in self.keys

    def first_due(self, tables: Iterable[Table], skipped: Iterable[Key]) -> Key | None:
        """The row that a node would start first: by priority, then by the time it became due."""
        left_out = list(skipped)
        queries = {table: self._due_rows(table, left_out) for table in tables}
        found: list[tuple[Any, ...]] = []
        for using, by_table in by_database(queries).items():
            for table, rows in first_rows(using, by_table, 1).items():
                for priority, due_time, text in rows:
                    pk = table[0]._meta.pk.to_python(text)
                    found.append((-priority, due_time, len(found), Key(*table, pk)))
        return min(found)[-1] if found else None

    def _due_rows(self, table: Table, left_out: Iterable[Key]) -> Any:
        now = clock.now(table[1])
        later = Greatest("run_after", "add_time", output_field=_TIME)
        due_time = Coalesce(later, "add_time", output_field=_TIME)
        rows = self.rows(table).filter(Q(run_after=None) | Q(run_after__lte=now))
        rows = rows.filter(status=Status.PENDING).exclude(check_at=without_message())
        if pks := [key.pk for key in left_out if key.table == table]:
            rows = rows.exclude(pk__in=pks)
        rows = rows.annotate(due_time=due_time).order_by("-priority", "due_time", "pk")
        return rows.values_list("priority", "due_time", key_as_text("pk"))

    def unfinished_tasks(self, tables: Iterable[Table]) -> list[Any]:
        """The unfinished tasks of the selection in these tables, as they are in the database."""
        return [
            task
            for table in sorted(tables, key=_label)
            for task in self.load(table, status__in=UNFINISHED)
        ]

    def load(self, table: Table, **lookups: Any) -> list[Any]:
        """The tasks of the selection in ``table`` with these columns, by their keys."""
        rows = self.rows(table).filter(**lookups).order_by("pk")
        tasks = load_tasks(*table, list(rows.values_list("pk", flat=True)))
        return [task for task in tasks if self.has(task)]


def without_message() -> datetime:
    """The ``check_at`` of tasks whose message is lost: no worker knows of them."""
    return stored(_WITHOUT_MESSAGE)


def by_database(by_table: Mapping[Table, T]) -> dict[str, dict[Table, T]]:
    """What is known of tables, by their databases, in the order of their labels."""
    sorted_out: dict[str, dict[Table, T]] = {}
    for table in sorted(by_table, key=_label):
        sorted_out.setdefault(table[1], {})[table] = by_table[table]
    return sorted_out


def _label(table: Table) -> tuple[str, str]:
    return table[0]._meta.label, table[1]


def may_read_commands() -> bool:
    """Whether the test may read which queues are paused."""
    return _is_usable(command_database())


def usable_databases() -> list[str]:
    """The databases that the test may use, with tables of tasks or without; no mirrors."""
    return [using for using in connections if not is_mirror(using) and _is_usable(using)]


def _is_usable(using: str) -> bool:
    """Whether the test may use the database: a TestCase names its ``databases``."""
    try:
        with connections[using].cursor():
            return True
    except testcases.DatabaseOperationForbidden:  # type: ignore[attr-defined]
        return False


def checked_model(model: Any) -> type[SimpleTask]:
    """``model``; TypeError if it is no task model."""
    if not isinstance(model, type) or not issubclass(model, SimpleTask):
        raise TypeError(f"{_shown(model)} is no task model.{_hint(model)}")
    return model


def checked_task(task: Any) -> Any:
    """``task``; TypeError if it is none, and ValueError if it has no row."""
    if not isinstance(task, SimpleTask):
        raise TypeError(f"{_shown(task)} is no task.{_hint(task)}")
    if task.pk is None:
        raise ValueError(
            f"{task_name(task)} has no key: save it first. If it was deleted, give it the key "
            "again that it had."
        )
    return task


def _checked(task: Any) -> Any:
    if not isinstance(task, SimpleTask):
        raise TypeError(f"{_shown(task)} is neither a task nor a task model.{_hint(task)}")
    return checked_task(task)


def _shown(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else repr(value)


def _hint(value: Any) -> str:
    """What may have been meant by what is neither a task nor a model."""
    if isinstance(value, list | tuple | set | models.QuerySet):
        return " Pass its tasks one by one: with a * before it."
    if hasattr(value, "module_path"):  # a function with @task of Django's Tasks API
        return " The calls of a function with @task are rows of FunctionTask."
    return ""
