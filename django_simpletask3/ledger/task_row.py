"""The columns and options of a task model, and the table and database of its rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, cast

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, models, router
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..conf.options import options
from ..exceptions import StopReason, TaskStopped
from ..retries import Backoff, ErrorNames, Exponential
from ..states import Status
from ..unique import Unique
from .digests import digest_of
from .fields import (
    MAX_TEXT,
    STATUS,
    AddTimeField,
    JSONTextField,
    ModTimeField,
    PriorityField,
    StatusField,
)

Row = TypeVar("Row", bound="TaskRow")
Function = TypeVar("Function", bound=Callable[..., Any])

KEY_BYTES = 120  # the longest short key


def _cached_by_model(function: Function) -> Function:
    """``lru_cache``, for the type checker the function itself: it has a type variable."""
    return cast("Function", lru_cache(maxsize=10_000)(function))


class TaskRow(models.Model):
    """The columns and class options of SimpleTask, without its behavior.

    The modules below ``models`` work on this class; users subclass SimpleTask.
    """

    #: Threads per node for this model; None means the setting.
    django_simpletask3_worker_number: ClassVar[int | None] = None
    #: Runs the task if ``do_task()`` is not overridden: a callable or a dotted path, called with
    #: the task; None means ``<app package>.tasks.<ClassName>Executor``.
    django_simpletask3_executor: ClassVar[Callable[..., Any] | str | None] = None
    #: The event model of your own, as "app.Model"; None means that a companion is made.
    django_simpletask3_event_model: ClassVar[str | None] = None
    django_simpletask3_event_queue_channel_template: ClassVar[str | None] = None
    django_simpletask3_task_id_template: ClassVar[str | None] = None
    #: How often a task function that raised is tried again; None: without a limit.
    django_simpletask3_max_retries: ClassVar[int | None] = 0
    #: When each retry begins: Exponential(...), Fixed(...), or a function of the number of the
    #: retry and the error that returns seconds, a timedelta or an aware datetime.
    django_simpletask3_retry_backoff: ClassVar[Backoff | Callable[..., Any]] = Exponential()
    #: The exceptions after which there is a retry: a class or its dotted path, or several; None:
    #: any.
    django_simpletask3_retry_on: ClassVar[ErrorNames | None] = None
    #: The exceptions after which there is none, also if ``retry_on`` names them.
    django_simpletask3_no_retry_on: ClassVar[ErrorNames | None] = None
    #: Seconds, or a timedelta, after which no retry begins: counted from the enqueuing or the last
    #: reset, or from the ``run_after`` that was given there. None: no limit.
    django_simpletask3_retry_for: ClassVar[float | timedelta | None] = None
    #: How often a task function may raise Snooze before its task fails.
    django_simpletask3_max_snoozes: ClassVar[int] = 1000
    #: Seconds, or a timedelta, that the task function may run: then ``should_stop`` is set, soon
    #: after TimeLimitExceeded is raised in it, and if that does not end it either, its process is
    #: replaced. None: no limit.
    django_simpletask3_time_limit: ClassVar[float | timedelta | None] = None
    #: How long finished tasks are kept: {Status.SUCCESS: timedelta(days=90)} deletes them then;
    #: {"erase": ..., "delete": ...} in the place of an age erases their payloads first; the key
    #: "deleted" is for streams whose row was deleted. None keeps everything.
    django_simpletask3_retention: ClassVar[Mapping[Any, Any] | None] = None
    #: How many claims in a row may be lost with their workers before the task is dropped.
    django_simpletask3_max_attempts: ClassVar[int] = 5
    #: Seconds, or a timedelta, after which a new task expires unless it has started; None: never.
    #: For subclasses of ExpiringTask only.
    django_simpletask3_expires: ClassVar[float | timedelta | None] = None
    #: Whether other tasks may wait for tasks of this table (``after()``, ``chain()``, ``group()``).
    #: Their ends are looked up among the prerequisites then.
    django_simpletask3_can_be_awaited: ClassVar[bool] = False
    #: How many tasks of the model, or of one key, run at once: ``limits.Limit(...)``; None: as many
    #: as there are threads.
    django_simpletask3_limit: ClassVar[Any] = None

    #: The schedules of the model: ``@schedule(...)`` adds to them. Subclasses do not inherit them.
    django_simpletask3_schedules: ClassVar[tuple[Any, ...]] = ()

    #: Which tasks are the same, as Unique("{customer_id}") says. None: none.
    #: For subclasses of UniqueTask only.
    django_simpletask3_unique: ClassVar[Unique | None] = None

    #: Whether the table has the column ``expires_at``: ExpiringTask sets it.
    _has_expiry: ClassVar[bool] = False
    #: Whether the table has the column ``unique_key``: UniqueTask sets it.
    _has_unique_key: ClassVar[bool] = False

    #: The columns that say of which model a row is, if there are any: ``from_db()`` returns an
    #: instance of that, a proxy of the model with the table.
    _model_columns: ClassVar[tuple[str, ...]] = ()
    #: Whether its task function may assign columns that are saved with the outcome.
    _is_written_by_function: ClassVar[bool] = True
    #: Until when this task has its unique key, and what happens to it if another one has that, if
    #: this is not for the Unique of its model to say.
    _unique_until: Any = None
    _on_conflict: Any = None
    #: The queue by which ``django-simpletask3-server --queues`` selects the model.
    _queue_name: ClassVar[str | None] = None

    #: Whether the next ``save()``, of a new task, enqueues it blocked: true, or the reason.
    _is_enqueued_blocked: bool | str = False
    #: What the next ``save()``, of a new task, makes it wait for: ``after()`` sets it.
    _awaited: Any = None
    #: The data of its ``block`` event.
    _block_data: Mapping[str, Any] = MappingProxyType({})
    #: The task that the next ``save()``, of a new task, replaces, as ``task_reference()`` names it.
    _replaced: str | None = None
    # Its unique key, while it is inserted, if it was computed before.
    _known_key: Any = None

    STATUS = STATUS
    PENDING = Status.PENDING
    BLOCKED = Status.BLOCKED
    RUNNING = Status.RUNNING
    SUCCESS = Status.SUCCESS
    FAILED = Status.FAILED
    CANCELED = Status.CANCELED

    # Projected: only transitions/ writes these. The index is for lists and counts of one
    # status.
    status = StatusField(_("status"), default=Status.PENDING, editable=False, db_index=True)
    attempt = models.PositiveIntegerField(_("attempt"), default=0, editable=False)
    sequence = models.PositiveIntegerField(_("events"), default=0, editable=False)
    digest = models.CharField(_("digest"), max_length=64, default="", editable=False)
    start_time = models.DateTimeField(_("start time"), null=True, editable=False)
    # Indexed for retention.
    done_time = models.DateTimeField(_("done time"), null=True, editable=False, db_index=True)
    success = models.BooleanField(_("success"), null=True, editable=False)
    result_data = JSONTextField(_("result"), null=True, editable=False)
    error_data = JSONTextField(_("error"), null=True, editable=False)
    result_time = models.DateTimeField(_("result time"), null=True, editable=False)

    # Operational: not part of the projection.
    add_time = AddTimeField(_("add time"))
    mod_time = ModTimeField(_("modify time"))
    run_after = models.DateTimeField(_("run after"), null=True, blank=True)
    priority = PriorityField(_("priority"), default=0)
    worker = models.CharField(_("worker"), max_length=MAX_TEXT, default="", editable=False)
    # The task that enqueued this one, as lineage.py writes it. Indexed, because there is no other
    # way from a task to those that it enqueued: their events are in tables of other models.
    parent = models.CharField(
        _("parent"), max_length=MAX_TEXT, null=True, editable=False, db_index=True
    )
    # When recovery examines the row: the lease of a running task ends, a waiting task is due or
    # its message may be lost. NULL once the task is final, so this one index serves every search of
    # recovery. A row that was inserted without save() is examined soon.
    check_at = models.DateTimeField(
        _("checked again at"), default=timezone.now, null=True, editable=False, db_index=True
    )

    class Meta:
        abstract = True

    #: The attempt (``running.attempt``) whose task function runs with this instance; else None.
    _running_attempt: Any = None
    _stop_reason: StopReason | None = None

    @property
    def should_stop(self) -> bool:
        """Whether the running task function should end: its result would be refused."""
        return _is_flagged(self)

    @property
    def stop_reason(self) -> StopReason | None:
        """Why ``check_stop()`` would raise in the running task function; None if it would not."""
        return self._stop_reason

    @property
    def is_worker_stopping(self) -> bool:
        """Whether the worker that runs the task function was asked to stop (SIGTERM).

        The function has the grace time to finish. It may raise TaskStopped: then the task is given
        back at once, without using a retry.
        """
        attempt = self._running_attempt
        return attempt is not None and attempt.is_worker_stopping()

    def check_stop(self) -> None:
        """Raise TaskStopped if the running task function has to stop; call it now and then.

        So it is within a second after ``cancel()``, ``reset()``, or the loss of the lease; after
        the time limit; and when the grace time of a stopping worker is over.
        """
        if self._stop_reason is not None or _is_flagged(self):
            raise TaskStopped(self._stop_reason)

    def stop_flag(self) -> threading.Event:
        """The flag behind ``should_stop``; all users of this instance share it."""
        flag: threading.Event = self.__dict__.setdefault("_stop_flag", threading.Event())
        return flag

    def __getstate__(self) -> Any:
        state = dict(super().__getstate__())
        for name in ("_stop_flag", "_stop_reason", "_running_attempt"):
            state.pop(name, None)
        return state

    @property
    def _backoff(self) -> Backoff | Callable[..., Any]:
        """What says when a retry begins. Not of the instance: it would be bound to that."""
        return type(self).django_simpletask3_retry_backoff

    @classmethod
    def _declared_limits(cls) -> Sequence[Any]:
        """The limits that tasks of this model may have."""
        limit = cls.django_simpletask3_limit
        return [] if limit is None else [limit]

    @classmethod
    def _may_be_unique(cls) -> bool:
        """Whether tasks of this model may have unique keys."""
        return cls.django_simpletask3_unique is not None

    @classmethod
    def get_worker_number(cls) -> int:
        """Threads per node for this model."""
        return cls.django_simpletask3_worker_number or options.default_simq_worker_number

    @classmethod
    def get_time_limit(cls) -> float | None:
        """Seconds that the task function may run; None means no limit."""
        limit = cls.django_simpletask3_time_limit
        return limit.total_seconds() if isinstance(limit, timedelta) else limit

    @classmethod
    def get_event_channel(cls) -> str:
        """The SimQ channel of this model."""
        own_template = cls.django_simpletask3_event_queue_channel_template
        template = own_template or options.event_queue_channel_template
        return template.format(app_label=cls._meta.app_label, model_name=cls._meta.model_name)

    def get_task_id(self) -> str:
        """The id of this task's message in SimQ."""
        template = self.django_simpletask3_task_id_template or options.task_id_template
        meta = self._meta
        task_id = template.format(app_label=meta.app_label, model_name=meta.model_name, id=self.pk)
        # Two databases may have given the same key.
        return f"{task_id}@{using}" if (using := _non_default_database(self)) else task_id

    def get_task_data(self) -> dict[str, Any]:
        """The data of this task's message: which row it names."""
        meta = self._meta
        key = self.pk if isinstance(self.pk, int | str) else str(self.pk)
        data = {"app_label": meta.app_label, "model_name": meta.model_name, "id": key}
        return {**data, "using": using} if (using := _non_default_database(self)) else data

    @classmethod
    def _insert_many(cls, tasks: Sequence[TaskRow], using: str) -> None:
        """Insert these new tasks, all of this model; SimpleTask does it."""
        raise NotImplementedError


def _is_flagged(task: TaskRow) -> bool:
    flag = vars(task).get("_stop_flag")
    return flag is not None and flag.is_set()


@_cached_by_model
def table_model(model: type[Row]) -> type[Row]:
    """The concrete model whose table holds the state of the tasks of ``model``.

    Proxies and multi-table children share the table, and so the stream, of their root.
    """
    return cast("type[Row]", model._meta.get_field("sequence").model._meta.concrete_model)


def known_tables() -> set[str]:
    """The labels of the models with tables of tasks that this process knows.

    In a rolling deploy, other nodes may know more, and their tasks wait in the same tables.
    """
    models_of_tasks: list[Any] = [m for m in apps.get_models() if issubclass(m, TaskRow)]
    return {table_model(model)._meta.label for model in models_of_tasks}


def has_expiry(model: type[TaskRow]) -> bool:
    """Whether tasks in the table of ``model`` may expire: its column ``expires_at`` says when."""
    return getattr(table_model(model), "_has_expiry", False)  # a parent may be no task


def has_unique_key(model: type[TaskRow]) -> bool:
    """Whether tasks in the table of ``model`` may have a unique key: its column ``unique_key``."""
    return getattr(table_model(model), "_has_unique_key", False)  # a parent may be no task


def all_rows(model: type[models.Model], using: str | None) -> models.QuerySet[Any]:
    """All rows of ``model`` in ``using``, without managers that may hide some."""
    return models.QuerySet(model, using=using)


def write_database(task: TaskRow) -> str:
    """The database in which the row of ``task`` is written, also if it was read from a replica."""
    if not router.routers:  # Django's default; each transition needs it several times
        return task._state.db or DEFAULT_DB_ALIAS
    return router.db_for_write(table_model(type(task)), instance=task)


def task_name(task: models.Model) -> str:
    """``task`` in messages: ``app.Task1 12``."""
    return f"{task._meta.label} {'(not saved)' if task.pk is None else task.pk}"


def task_reference(task: TaskRow, pk: object = None) -> str:
    """``task`` as ``parent`` names it: ``app.Model:key``, or ``app.Model@database:key``.

    The database is named unless the router would choose it. If the reference is too long for the
    column, the digest of the key replaces the key. ``pk`` is the key, if the instance has lost it.
    """
    root, using = table_model(type(task)), write_database(task)
    database_suffix = "" if using == router.db_for_write(root) else f"@{using}"
    key = str(task.pk if pk is None else pk)
    name = f"{root._meta.label}{database_suffix}:{key}"
    return (
        name if len(name) <= MAX_TEXT else f"{root._meta.label}{database_suffix}#{digest_of(key)}"
    )


def short_key(model: type[TaskRow], using: str, pk: object) -> str:
    """A text of at most KEY_BYTES bytes that names the row ``pk`` in the table of ``model``.

    The digest stands for a key that is too long.
    """
    key = f"{table_model(model)._meta.label}@{using}:{pk}"
    is_plain = len(key) <= KEY_BYTES and key.isascii() and key.isprintable()
    return key if is_plain else digest_of(key)


def _non_default_database(task: TaskRow) -> str:
    """The database of ``task``, unless the router would choose it."""
    using = write_database(task)
    # Without routers as in ``write_database``: each message needs it twice.
    default = router.db_for_write(type(task)) if router.routers else DEFAULT_DB_ALIAS
    return "" if using == default else using
