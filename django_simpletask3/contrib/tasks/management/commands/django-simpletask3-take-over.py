"""``manage.py django-simpletask3-take-over``: take over tasks that wait in django-tasks-db."""

from __future__ import annotations

import datetime
from argparse import ArgumentParser
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import connections, router, transaction
from django.db.models import Count

from django_simpletask3.context import task_context
from django_simpletask3.contrib.tasks import registry
from django_simpletask3.contrib.tasks.models import FunctionTask, model_of
from django_simpletask3.contrib.tasks.policies import unique_text
from django_simpletask3.contrib.tasks.queues import BACKEND_PATHS, all_backends, our_backends
from django_simpletask3.exceptions import FunctionMissing, InvalidKey
from django_simpletask3.management.arguments import counted, operator
from django_simpletask3.transitions.unique_keys import holders
from django_simpletask3.transitions.unique_keys.compute import key_of_new

_MODEL = "django_tasks_database.DBTaskResult"
_BATCH_SIZE = 100
#: What django-tasks-db writes for a task that may run at once.
_FAR_YEAR = 9999


class Command(BaseCommand):
    """Save a function task for each unfinished row of django-tasks-db, and delete that row."""

    help = "Takes over the unfinished tasks of django-tasks-db. Their results keep their ids."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--running",
            action="store_true",
            help="Also takes over tasks that its workers were running: stop all of them first.",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Only says how many tasks there are."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            model = apps.get_model(_MODEL)
        except LookupError:
            raise CommandError("django_tasks_db is not in INSTALLED_APPS.") from None
        if not our_backends():
            path = BACKEND_PATHS[0]
            raise CommandError(f"TASKS names no SimpleTaskBackend: set BACKEND to {path!r} first.")
        statuses = ["READY", "RUNNING"] if options["running"] else ["READY"]
        using = router.db_for_write(model)
        rows = model._base_manager.using(using).filter(status__in=statuses).order_by("enqueued_at")
        others = all_backends().keys() - our_backends().keys()
        left = rows.filter(backend_name__in=others).count()
        rows = rows.exclude(backend_name__in=others)
        if options["dry_run"]:
            taken, unknown = _count(rows)
            self.stdout.write(f"{counted(taken, 'task')} would be taken over")
        else:
            taken, unknown = _take_over_all(rows, using)
            self.stdout.write(f"{counted(taken, 'task')} taken over")
        if left:
            names = ", ".join(sorted(others))
            self.stdout.write(f"{counted(left, 'task')} of other backends in TASKS left: {names}")
        if unknown:
            paths = ", ".join(sorted(unknown))
            raise CommandError(
                f"Left there, because no module that is imported defines them: {paths}. Name their "
                'modules in OPTIONS["MODULES"] of TASKS.'
            )


def _count(rows: Any) -> tuple[int, set[str]]:
    """How many rows have known functions, and the paths of the others."""
    by_path = dict(rows.order_by().values_list("task_path").annotate(number=Count("pk")))
    unknown = {path for path in by_path if not _is_known(path)}
    return sum(number for path, number in by_path.items() if path not in unknown), unknown


def _take_over_all(rows: Any, using: str) -> tuple[int, set[str]]:
    unknown: set[str] = set()
    count = 0
    while batch := list(rows.exclude(task_path__in=unknown)[:_BATCH_SIZE]):
        missing = {row.task_path for row in batch if not _is_known(row.task_path)}
        unknown |= missing
        pks = [row.pk for row in batch if row.task_path not in missing]
        count += _take_over(rows, using, pks) if pks else 0
    return count, unknown


def _take_over(rows: Any, using: str, pks: list[Any]) -> int:
    """Take over these rows, in one transaction; how many there still were.

    If function tasks are in another database, a row may have been taken over, and not deleted: only
    that is done then.
    """
    can_lock = connections[using].features.has_select_for_update
    with (
        transaction.atomic(using=using),
        task_context(actor=operator(), reason="taken over from django-tasks-db"),
    ):
        locked = rows.filter(pk__in=pks)
        found = list(locked.select_for_update() if can_lock else locked)
        tasks = FunctionTask._base_manager.using(router.db_for_write(FunctionTask))
        taken = set(tasks.filter(result_id__in=pks).values_list("result_id", flat=True))
        for row in found:
            if row.pk not in taken:
                _save_task(row)
        rows.filter(pk__in=[row.pk for row in found])._raw_delete(using)
    return len(found)


def _save_task(row: Any) -> None:
    """Save a function task for ``row``: without a unique key if another task has that.

    Both were accepted, and the result of each may be asked for.
    """
    model = model_of(row.queue_name)
    columns = _columns(row)
    task = model(**columns, unique_text=_unique_text(columns))
    using = router.db_for_write(model)
    key = key_of_new(task)
    if key is not None and holders.find(model, using, [key]):
        task = model(**columns)
    task.save(force_insert=True, using=using)


def _unique_text(columns: dict[str, Any]) -> str | None:
    function = registry.find(columns["task_path"])
    try:
        return unique_text(function, columns["backend_name"], columns)
    except (TypeError, InvalidKey):  # the function will refuse the arguments
        return None


def _columns(row: Any) -> dict[str, Any]:
    aliases = list(our_backends())
    alias = row.backend_name if row.backend_name in aliases else aliases[0]
    run_after: datetime.datetime | None = row.run_after
    is_later = run_after is not None and run_after.year < _FAR_YEAR
    return {
        "result_id": row.pk,
        "task_path": row.task_path,
        "args": row.args_kwargs["args"],
        "kwargs": row.args_kwargs["kwargs"],
        "priority": row.priority,
        "queue_name": row.queue_name,
        "backend_name": alias,
        "run_after": run_after if is_later else None,
        "add_time": row.enqueued_at,
    }


def _is_known(path: str) -> bool:
    try:
        return bool(registry.find(path))
    except FunctionMissing:
        return False
