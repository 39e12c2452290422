"""``manage.py django-simpletask3-take-over``: take over tasks that wait in django-tasks-db."""

from __future__ import annotations

import datetime
from argparse import ArgumentParser
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import connections, router, transaction

from django_simpletask3.context import task_context
from django_simpletask3.contrib.tasks import registry
from django_simpletask3.contrib.tasks.models import model_of
from django_simpletask3.contrib.tasks.queues import our_backends
from django_simpletask3.exceptions import FunctionMissing
from django_simpletask3.management.arguments import counted, operator

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
        statuses = ["READY", "RUNNING"] if options["running"] else ["READY"]
        using = router.db_for_write(model)
        rows = model._base_manager.using(using).filter(status__in=statuses).order_by("enqueued_at")
        if options["dry_run"]:
            self.stdout.write(f"{counted(rows.count(), 'task')} would be taken over")
            return
        taken, unknown = self._take_over_all(rows, using)
        self.stdout.write(f"{counted(taken, 'task')} taken over")
        if unknown:
            paths = ", ".join(sorted(unknown))
            raise CommandError(
                f"Left there, because no module that is imported defines them: {paths}. Name their "
                'modules in OPTIONS["MODULES"] of TASKS.'
            )

    def _take_over_all(self, rows: Any, using: str) -> tuple[int, set[str]]:
        unknown: set[str] = set()
        count = 0
        while batch := list(rows.exclude(task_path__in=unknown)[:_BATCH_SIZE]):
            missing = {row.task_path for row in batch if not _is_known(row.task_path)}
            unknown |= missing
            pks = [row.pk for row in batch if row.task_path not in missing]
            count += _take_over(rows, using, pks) if pks else 0
        return count, unknown


def _take_over(rows: Any, using: str, pks: list[Any]) -> int:
    """Take over these rows, in one transaction; how many there still were."""
    can_lock = connections[using].features.has_select_for_update
    with (
        transaction.atomic(using=using),
        task_context(actor=operator(), reason="taken over from django-tasks-db"),
    ):
        locked = rows.filter(pk__in=pks)
        found = list(locked.select_for_update() if can_lock else locked)
        for row in found:
            model_of(row.queue_name).objects.create(**_columns(row))
        rows.filter(pk__in=[row.pk for row in found])._raw_delete(using)
    return len(found)


def _columns(row: Any) -> dict[str, Any]:
    aliases = list(our_backends())
    alias = row.backend_name if row.backend_name in aliases else (*aliases, "default")[0]
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
