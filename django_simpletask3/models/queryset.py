"""Query tasks, and enqueue many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections, models, transaction
from django.db.models import Q
from django.db.models.functions import Coalesce

from ..batches import batches
from ..db import clock, inserts
from ..db.fast_instances import builder_of_new
from ..dependencies import linking
from ..dependencies.methods import DEPENDENTS
from ..dispatch.push import push_hint
from ..exceptions import DuplicateTask
from ..ledger.columns import reject_assigned, reject_managed
from ..ledger.fields import IsTimed
from ..ledger.task_row import TaskRow, has_unique_key, table_model
from ..states import FINAL, RECOVERABLE, EventKind, Status
from ..transitions import erasure
from ..transitions.batchwise import apply_batchwise
from ..transitions.expiry import Expires, expiry_time, limit_check_at
from ..transitions.new_tasks import general, plain
from ..transitions.transition import latest_check_time
from ..transitions.unique_keys.conflicts import insert_or_resolve

T = TypeVar("T", bound=TaskRow)


#: The process that saved a task may have another clock.
_CLOCK_TOLERANCE = timedelta(seconds=1)
#: Tasks in one transaction.
_BATCH_SIZE = 100
_UPSERTS = ("ignore_conflicts", "update_conflicts")


class TaskQuerySet(models.QuerySet[T]):
    """Tasks by their status; use ``TaskQuerySet.as_manager()`` in managers of your own."""

    def pending(self) -> TaskQuerySet[T]:
        """Tasks that wait for a worker."""
        return self.filter(status=Status.PENDING)

    def blocked(self) -> TaskQuerySet[T]:
        """Tasks that wait for ``unblock()``."""
        return self.filter(status=Status.BLOCKED)

    def running(self) -> TaskQuerySet[T]:
        """Tasks that a worker holds."""
        return self.filter(status=Status.RUNNING)

    def succeeded(self) -> TaskQuerySet[T]:
        """Tasks whose function returned."""
        return self.filter(status=Status.SUCCESS)

    def failed(self) -> TaskQuerySet[T]:
        """Tasks whose function raised, and tasks that were dropped."""
        return self.filter(status=Status.FAILED)

    def canceled(self) -> TaskQuerySet[T]:
        """Tasks that were canceled."""
        return self.filter(status=Status.CANCELED)

    def finished(self) -> TaskQuerySet[T]:
        """Tasks that are final."""
        return self.filter(status__in=FINAL)

    def due(self) -> TaskQuerySet[T]:
        """Waiting tasks that may run now: they have no ``run_after`` in the future."""
        return self.pending().filter(_may_run(clock.now(self.db)))

    def lost(self) -> TaskQuerySet[T]:
        """Tasks that recovery has to examine.

        RUNNING tasks whose lease has ended, and PENDING tasks whose message may be lost.
        """
        return self.filter(status__in=RECOVERABLE, check_at__lte=clock.now(self.db))

    def enqueue(self, *, blocked: bool | str = False, expires: Expires = None, **columns: Any) -> T:
        """Save a new task with these columns, which queues it; returns it.

        With ``blocked``, true or the reason, the task waits until its ``unblock()`` is called.
        A task of a model that subclasses ExpiringTask is canceled unless it has started when it
        ``expires``: a time, a timedelta or a number of seconds from now; None means as
        ``django_simpletask3_expires`` says. Raises TypeError if tasks of the model do not expire.
        If another task has the unique key: raises DuplicateTask, or returns that task, whose
        ``was_joined`` is true then, or cancels it, as ``django_simpletask3_unique`` says.
        """
        task: T = builder_of_new(self.model)(columns)
        _set_blocked(task, blocked)
        self._for_write = True
        using = self.db
        _set_expiry([task], using, expires)
        if has_unique_key(self.model):
            [task] = insert_or_resolve(
                [task], using, lambda tasks: tasks[0].save(force_insert=True, using=using)
            )
        else:
            task.save(force_insert=True, using=using)
        return task

    enqueue.alters_data = True  # type: ignore[attr-defined]

    def bulk_enqueue(
        self,
        tasks: Iterable[T | Mapping[str, Any]],
        batch_size: int | None = None,
        *,
        blocked: bool | str = False,
        expires: Expires = None,
    ) -> list[T]:
        """Enqueue many tasks, given as unsaved instances or as dicts of columns.

        Writes rows and events in batches, in one transaction, and pushes the messages after it.
        ``blocked`` and ``expires`` are as of ``enqueue()``, for all of them; a column
        ``expires_at`` is for one. Returns as many tasks as it was given, in their order: with
        ``on_conflict="join"``, tasks that existed are among them. Raises DuplicateTask, and
        enqueues none, if one is refused because of its unique key.
        """
        # The insert sets these columns anew, so one default serves all tasks of the bulk.
        build: Callable[[Mapping[str, Any]], T] = builder_of_new(
            self.model, alike=("check_at", "mod_time")
        )
        instances = [build(task) if isinstance(task, Mapping) else task for task in tasks]
        for instance in instances:
            _set_blocked(instance, blocked)
        self._for_write = True
        _set_expiry(instances, self.db, expires)
        if has_unique_key(self.model):
            create = partial(self.bulk_create, batch_size=batch_size)
            return insert_or_resolve(instances, self.db, create)
        return self.bulk_create(instances, batch_size=batch_size)

    bulk_enqueue.alters_data = True  # type: ignore[attr-defined]

    async def aenqueue(self, **columns: Any) -> T:
        """As ``enqueue()``."""
        return await sync_to_async(self.enqueue)(**columns)

    aenqueue.alters_data = True  # type: ignore[attr-defined]

    async def abulk_enqueue(self, *args: Any, **kwargs: Any) -> list[T]:
        """As ``bulk_enqueue()``."""
        return await sync_to_async(self.bulk_enqueue)(*args, **kwargs)

    abulk_enqueue.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(  # type: ignore[override]
        self, objs: Iterable[T], batch_size: int | None = None, **options: Any
    ) -> list[T]:
        """As Django's, with the ``enqueue`` events in the same transaction.

        Raises ValueError for ignore_conflicts and update_conflicts: the database does not report
        which rows it inserted.
        """
        if unsupported := [name for name in _UPSERTS if options.get(name)]:
            raise ValueError(
                f"Tasks cannot be created with {unsupported[0]}: each row needs its event."
            )
        if batch_size is not None and batch_size <= 0:
            raise ValueError("Batch size must be a positive integer.")
        tasks: list[Any] = list(objs)
        self._for_write = True
        if plain.enqueue_all(tasks, self.db, batch_size):
            return tasks
        for task in tasks:
            reject_assigned(task, is_new=True)
        create = super().bulk_create
        insert = partial(
            general.enqueue,
            tasks,
            self.db,
            lambda: self._insert_all(tasks, create, batch_size),
            batch_size=batch_size,
        )
        linking.enqueue(tasks, self.db, insert)
        return tasks

    bulk_create.alters_data = True  # type: ignore[attr-defined]

    def _insert_all(self, tasks: list[Any], create: Any, batch_size: int | None) -> None:
        if has_unique_key(self.model):
            # In one order: two inserts of the same keys must not wait for each other
            # (test_many_tasks_of_the_same_keys_are_enqueued_in_any_order).
            tasks = sorted(tasks, key=lambda task: str(task.unique_key))
        if inserts.insert_all(tasks, self.db, batch_size):
            return
        features = connections[self.db].features
        has_keys = all(task.pk is not None for task in tasks)
        if has_keys or features.can_return_rows_from_bulk_insert:
            create(tasks, batch_size=batch_size)
            return
        # This database does not return the keys of a bulk insert, and the events need them.
        for task in tasks:
            models.Model.save(task, force_insert=True, using=self.db)

    def hold(self, reason: str = "") -> int:
        """Put a legal hold on each of these tasks; returns how many."""
        return self._apply_to_each(EventKind.HOLD, reason)

    hold.alters_data = True  # type: ignore[attr-defined]

    def lift(self, reason: str = "") -> int:
        """Lift the legal hold of each of these tasks; returns how many."""
        return self._apply_to_each(EventKind.LIFT, reason)

    lift.alters_data = True  # type: ignore[attr-defined]

    def unblock(self, reason: str = "") -> int:
        """Unblock those of these tasks that are blocked; returns how many.

        Works in batches, each in a transaction.
        """
        return self._apply_to_each(EventKind.UNBLOCK, reason)

    unblock.alters_data = True  # type: ignore[attr-defined]

    async def aunblock(self, reason: str = "") -> int:
        """As ``unblock()``."""
        return await sync_to_async(self.unblock)(reason)

    aunblock.alters_data = True  # type: ignore[attr-defined]

    def cancel(self, reason: str = "") -> int:
        """Cancel those of these tasks that are not finished; returns how many.

        Works in batches, each in a transaction. Not on a manager, like Django's ``delete()``:
        ``Task1.objects.all().cancel()``.
        """
        return self._apply_to_each(EventKind.CANCEL, reason)

    cancel.alters_data = True  # type: ignore[attr-defined]
    cancel.queryset_only = True  # type: ignore[attr-defined]

    async def acancel(self, *args: Any, **kwargs: Any) -> int:
        """As ``cancel()``."""
        return await sync_to_async(self.cancel)(*args, **kwargs)

    acancel.alters_data = True  # type: ignore[attr-defined]
    acancel.queryset_only = True  # type: ignore[attr-defined]

    def reset(
        self,
        reason: str = "",
        *,
        expires: Expires = None,
        restart: bool = False,
        dependents: bool = False,
    ) -> int:
        """Make these tasks PENDING again, in any status, to run at once; returns how many.

        ``failed().reset("...")`` runs again what has failed. Works in batches, each in a
        transaction; a task that is in another status by then is left alone. ``expires`` is as of
        ``enqueue()``, the same time for all of them; without it they do not expire any more. The
        steps that ``once()`` has recorded are not repeated, unless ``restart`` is true. With
        ``dependents``, tasks that were canceled because these had failed wait for them again. Not
        on a manager, like Django's ``delete()``.
        """
        values: dict[str, Any] = {"run_after": None}
        self._for_write = True
        if expires is not None:
            values["expires_at"] = expiry_time(self.model, self.db, expires)
        data = {"restart": bool(restart), **({DEPENDENTS: True} if dependents else {})}
        return self._apply_to_each(EventKind.RESET, reason, values=values, data=data)

    reset.alters_data = True  # type: ignore[attr-defined]
    reset.queryset_only = True  # type: ignore[attr-defined]

    async def areset(self, *args: Any, **kwargs: Any) -> int:
        """As ``reset()``."""
        return await sync_to_async(self.reset)(*args, **kwargs)

    areset.alters_data = True  # type: ignore[attr-defined]
    areset.queryset_only = True  # type: ignore[attr-defined]

    def erase(self, reason: str = "") -> int:
        """Erase the payload of these tasks, as ``task.erase()`` does; returns of how many.

        Works in batches, each in a transaction. Skips tasks on legal hold. Raises
        IllegalTransition at a task that is not finished.
        """
        return sum(erasure.erase(tasks, reason) for tasks in self._batches())

    erase.alters_data = True  # type: ignore[attr-defined]

    def _apply_to_each(self, kind: EventKind, reason: str, **details: Any) -> int:
        self._for_write = True
        return apply_batchwise(self.using(self.db), kind, reason=reason, **details)

    def _batches(self) -> Iterator[Any]:
        pks = list(self.values_list("pk", flat=True))
        for batch in batches(pks, _BATCH_SIZE):
            yield list(TaskQuerySet(self.model, using=self.db).filter(pk__in=batch))

    def update(self, **columns: Any) -> int:
        """As Django's. Raises ProjectedColumn for columns that only the state machine writes."""
        reject_managed(self.model, columns)
        if "run_after" in columns:
            self._for_write = True
            columns["run_after"] = clock.time_of(columns["run_after"], self.db)
            due = _next_check_expression(self.model, columns["run_after"], clock.now(self.db))
            # First: MySQL assigns in this order, and an expression reads what was assigned before.
            columns = {"check_at": due, **columns}
        count = super().update(**columns)
        if count and "run_after" in columns:
            hint = partial(push_hint, self.model, self.db, columns["run_after"])
            transaction.on_commit(hint, using=self.db, robust=True)
        return count

    update.alters_data = True  # type: ignore[attr-defined]

    def update_managed(self, **columns: Any) -> int:
        """Update managed columns; for this package itself."""
        return super().update(**columns)

    update_managed.alters_data = True  # type: ignore[attr-defined]

    def update_managed_skip_locked(self, **columns: Any) -> int:
        """Like ``update_managed``, but skip rows that another transaction has locked.

        Rows are locked in the order of their keys, as everywhere in this package.
        """
        features = connections[self.db].features
        if not features.has_select_for_update:
            return self.update_managed(**columns)
        with transaction.atomic(using=self.db):
            unlocked_rows = self.order_by("pk").select_for_update(
                skip_locked=features.has_select_for_update_skip_locked
            )
            locked_rows = rows_of(self.model, self.db).filter(
                pk__in=list(unlocked_rows.values_list("pk", flat=True))
            )
            return locked_rows.update_managed(**columns)

    update_managed_skip_locked.alters_data = True  # type: ignore[attr-defined]

    def bulk_update(  # type: ignore[override]
        self, objs: Iterable[T], fields: Iterable[str], **options: Any
    ) -> int:
        """As Django's. Raises ProjectedColumn for columns that only the state machine writes."""
        tasks, fields = list(objs), list(fields)
        reject_managed(self.model, fields)
        if "run_after" in fields:
            for task in tasks:
                task.run_after = clock.time_of(task.run_after, self.db)
        return super().bulk_update(tasks, fields, **options)

    bulk_update.alters_data = True  # type: ignore[attr-defined]

    def get_or_create(
        self, defaults: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> tuple[T, bool]:
        """As Django's. Raises DuplicateTask if a task that is not looked for has the unique key."""
        try:
            return super().get_or_create(defaults, **kwargs)
        except DuplicateTask:
            # As Django does if a constraint says that another row was inserted meanwhile.
            with suppress(self.model.DoesNotExist):
                return self.get(**kwargs), False
            raise

    get_or_create.alters_data = True  # type: ignore[attr-defined]

    def update_or_create(
        self, defaults: Mapping[str, Any] | None = None, *args: Any, **kwargs: Any
    ) -> tuple[T, bool]:
        """As Django's. Raises ProjectedColumn for columns that only the state machine writes."""
        reject_managed(self.model, defaults or ())
        return super().update_or_create(defaults, *args, **kwargs)

    update_or_create.alters_data = True  # type: ignore[attr-defined]


def _set_blocked(task: Any, blocked: bool | str) -> None:
    if blocked:
        task._is_enqueued_blocked = blocked
    else:
        vars(task).pop("_is_enqueued_blocked", None)  # of an earlier try


def _set_expiry(tasks: Sequence[Any], using: str, expires: Expires) -> None:
    if expires is not None and tasks:
        expires_at = expiry_time(type(tasks[0]), using, expires)
        for task in tasks:
            task.expires_at = expires_at


def _next_check_expression(model: type[TaskRow], run_after: object, now: datetime) -> models.Case:
    """The ``check_at`` of PENDING tasks after a change of ``run_after``: when they are due."""
    if hasattr(run_after, "resolve_expression"):
        due: Any = Coalesce(run_after, now)
    else:
        # Django takes it as text or as a date, too.
        due = models.Value(run_after or now, output_field=models.DateTimeField())
    when_pending = models.When(status=Status.PENDING, then=limit_check_at(model, due))
    return models.Case(when_pending, default=models.F("check_at"))


def _may_run(now: datetime) -> Q:
    return Q(run_after=None) | Q(run_after__lte=now)


def waiting_by_check_at(
    rows: TaskQuerySet[T], statuses: Iterable[Status] = (Status.PENDING,)
) -> TaskQuerySet[T]:
    """Those of ``rows`` in ``statuses`` that have a ``check_at``, found by the index of that.

    By the index of the status, which some planners prefer, all tasks that wait would be read.
    """
    waits = Q(*(("status__without_index", status) for status in statuses), _connector=Q.OR)
    return rows.filter(waits, IsTimed("check_at"))


def overdue_rows(model: type[TaskRow], using: str) -> TaskQuerySet[Any]:
    """Waiting tasks of the table that recovery has to examine."""
    return waiting_by_check_at(rows_of(model, using)).filter(check_at__lte=clock.now(using))


def due_rows(model: type[TaskRow], using: str, *, only_overdue: bool = False) -> TaskQuerySet[Any]:
    """Waiting tasks of the table that may run now, in the order in which they are checked.

    Found by the index of ``check_at``: of the tasks that wait for a later time only those of the
    next hours are read (``latest_check_time``); with ``only_overdue``, which leaves out tasks whose
    messages are trusted, none.
    """
    now = clock.now(using)
    latest = now + _CLOCK_TOLERANCE if only_overdue else latest_check_time(now)
    rows = waiting_by_check_at(rows_of(model, using)).filter(_may_run(now))
    return rows.filter(check_at__lte=latest).order_by("check_at", "pk")


def rows_after(check_at: datetime, pk: object) -> Q:
    """The rows after this one, in the order of ``due_rows``."""
    return Q(check_at__gte=check_at) & (Q(check_at__gt=check_at) | Q(pk__gt=pk))


def rows_of(model: type[TaskRow], using: str) -> TaskQuerySet[Any]:
    """All tasks in the table of ``model``, without managers that may hide some."""
    return TaskQuerySet(table_model(model), using=using)
