"""A task: subclass SimpleTask, add columns of your own, write ``do_task()``, save a row."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Self

from django.apps import apps
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import models, router
from django.db.models.signals import class_prepared, pre_delete
from django.utils.functional import classproperty

from ..context import CONTEXT_KEYS, RESERVED_KEYS, reject_keys
from ..db import clock, inserts
from ..db.conflicts import repeat_on_conflict
from ..db.fast_instances import (
    build_without_init,
    init_new,
    may_skip_init,
    method_of_django,
    plain_constructor,
)
from ..dependencies import linking
from ..dependencies.methods import DEPENDENTS, after
from ..dependencies.prerequisites import Prerequisites
from ..dispatch import after_commit
from ..exceptions import StaleTask, StopReason, TaskGone
from ..ledger.columns import (
    auto_now_fields,
    changed_schedule_fields,
    managed_columns,
    reject_assigned,
    reject_managed,
    remember_columns,
    remember_loaded,
    user_fields,
)
from ..ledger.event import TaskEvent, event_model_of, events_of, make_event_model
from ..ledger.projection import Projection, fold
from ..ledger.stop_signal import reason_to_stop, request_stop
from ..ledger.task_row import table_model, write_database
from ..ledger.tombstone import is_being_pruned
from ..limits.declared import clean_key, has_limit
from ..limits.line import save_with_rank
from ..running.attempt import Attempt
from ..running.methods import RunningMethods
from ..running.tries import Tries, read_tries
from ..states import EventKind, Status
from ..transitions import erasure, transition, writer
from ..transitions.expiry import Expires, expiry_time, limit_check_at
from ..transitions.forced_cancel import cancel_by_force
from ..transitions.legal_holds import pks_on_hold, reject_held
from ..transitions.new_tasks import general, plain
from . import async_methods, waiting
from .explanation.causes import explain
from .queryset import TaskQuerySet, rows_of
from .run_records import RunRecord, runs_of

INSTALLATION_ID = "django_simpletask3.E113"

#: Keys that a note must not have.
_NOT_IN_NOTES = RESERVED_KEYS - {"progress"} | CONTEXT_KEYS

_DJANGOS_SAVE = method_of_django("save")

#: When a task may run: a time, a timedelta or a number of seconds from now; None means at once.
RunAfter = datetime | timedelta | float | None


class SimpleTask(RunningMethods):
    """A task is a row: saving a new row queues it, and a worker runs its ``do_task()``.

    ``result_data`` has what ``do_task()`` returned, ``error_data`` what it raised, and ``events``
    everything that happened to the task, in order.
    """

    if TYPE_CHECKING:
        #: The stream of this task.
        events: models.Manager[Any]

    objects = TaskQuerySet.as_manager()

    class Meta:
        abstract = True

    if not TYPE_CHECKING:  # a type checker knows the columns that Django's takes

        @plain_constructor
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            if args or not init_new(self, kwargs):
                super().__init__(*args, **kwargs)

    def __str__(self) -> str:
        return f"{self._meta.verbose_name} {self.pk}"

    def do_task(self, *args: Any, **kwargs: Any) -> Any:
        """The work. What it returns is the result; what it raises is the error.

        Own columns assigned here are saved with the outcome. No transaction is open, unless you
        open one. Declare ``worker`` or ``msg`` (or ``**kwargs``) to be given the worker's
        name and the SimQ message.
        """
        raise NotImplementedError

    @classproperty
    def event_model(cls) -> type[TaskEvent]:  # noqa: N805
        """The model of this task's stream."""
        return event_model_of(cls)  # type: ignore[arg-type]

    @classmethod
    def from_db(cls, db: Any, field_names: Any, values: Any, **options: Any) -> Self:
        """As Django's; remembers the values, for ``save()`` to compare."""
        if options or not may_skip_init(cls):
            task = super().from_db(db, field_names, values, **options)
        else:
            task = build_without_init(cls, dict(zip(field_names, values, strict=True)), db)
        remember_loaded(task, field_names, values)
        return task

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        """As Django's."""
        super().refresh_from_db(*args, **kwargs)
        fields = {**dict(zip(("using", "fields"), args, strict=False)), **kwargs}.get("fields")
        remember_columns(self, *(() if fields is None else [fields]))

    def validate_unique(self, exclude: Collection[str] | None = None) -> None:
        """As Django's; a new task is also invalid if its limit can make no key of its columns."""
        super().validate_unique(exclude)
        if self._state.adding:
            clean_key(self, exclude)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert a new task and queue it; of an existing task, write only the user's columns.

        A new row and its ``enqueue`` event are one transaction; the message is pushed after the
        outermost commit on the same database. Saving a PENDING task again makes sure that it is
        queued; ``run_after`` and ``priority`` are written if they were changed here. Raises
        ProjectedColumn if ``update_fields`` names a column that only transitions write, or if one
        was assigned; ValueError if the router would look for the new row in another database
        than ``using``.
        """
        if not args and _inserts_as_django(type(self)) and plain.enqueue(self, **kwargs):
            return
        names = ("force_insert", "force_update", "using", "update_fields")
        arguments = {**dict(zip(names, args, strict=False)), **kwargs}
        using = arguments.get("using") or router.db_for_write(type(self), instance=self)
        if self._is_new(arguments):
            reject_assigned(self, is_new=True)
            insert_arguments = {
                **arguments,
                "using": using,
                "force_insert": arguments.get("force_insert") or True,
            }
            insert = partial(
                general.enqueue,
                [self],
                using,
                lambda: super(SimpleTask, self).save(**insert_arguments),
                may_skip_transaction=type(self)._do_insert is SimpleTask._do_insert,
            )
            linking.enqueue([self], using, insert)
            return
        arguments["update_fields"] = self._user_columns(arguments.get("update_fields"), using)
        save_columns = partial(super().save, **{**arguments, "using": using})
        if "priority" in arguments["update_fields"] and has_limit(type(self)):
            save_columns = partial(save_with_rank, self, using, save_columns)
        repeat_on_conflict(using, save_columns)
        remember_columns(self, arguments["update_fields"])
        if self.status == Status.PENDING:
            if self.run_after is not None and "run_after" in arguments["update_fields"]:
                # Else recovery checks for the message when the task was due before
                # (test_recovery_looks_for_a_postponed_task_when_it_is_due).
                check_at = transition.next_check_time(self.run_after, clock.now(using))
                rows_of(type(self), using).pending().filter(pk=self.pk).update_managed(
                    check_at=limit_check_at(type(self), check_at)
                )
            after_commit.schedule_push(self, using)

    def _do_insert(
        self, manager: Any, using: str, fields: Any, returning_fields: Any, raw: bool
    ) -> Any:
        row = {"fields": fields, "returning_fields": returning_fields, "raw": raw}
        returned = inserts.insert_with_event(self, using, manager.model, **row)
        if returned is not None:
            return returned
        return super()._do_insert(manager, using, **row)  # type: ignore[misc]

    @classmethod
    def _insert_many(cls, tasks: Sequence[Any], using: str) -> None:
        concrete = cls._meta.concrete_model
        if all(parent._meta.concrete_model is concrete for parent in cls._meta.all_parents):
            TaskQuerySet(cls, using=using).bulk_create(tasks)
            return
        for task in tasks:  # Django cannot insert rows of several tables in bulk
            task.save(using=using, force_insert=True)

    def _is_new(self, arguments: dict[str, object]) -> bool:
        if arguments.get("force_insert"):
            return True
        unsaved = self._state.adding or self.pk is None
        return (
            unsaved and not arguments.get("force_update") and arguments.get("update_fields") is None
        )

    def _user_columns(self, update_fields: Any, using: str) -> set[str]:
        if (run_after := vars(self).get("run_after")) is not None:
            self.run_after = clock.time_of(run_after, using)
        if update_fields is not None:
            update_fields = set(update_fields)
            if (auto_now := auto_now_fields(self)) <= update_fields:
                update_fields -= auto_now & managed_columns(type(self))
            reject_managed(type(self), update_fields)
            return {*update_fields, "mod_time"} if update_fields else set()
        reject_assigned(self)
        loaded = {field.name for field in user_fields(self)}
        # A retry may have postponed the task meanwhile: an old instance must not undo that
        # (test_a_stale_instance_cannot_undo_when_a_task_will_run).
        return {*loaded, "mod_time", *changed_schedule_fields(self)}

    def reset(
        self,
        reason: str = "",
        *,
        run_after: RunAfter = None,
        expires: Expires = None,
        restart: bool = False,
        dependents: bool = False,
    ) -> None:
        """Make the task PENDING again, in any status; its result is kept in the event.

        A running attempt is superseded: its result will be refused. ``run_after`` is a time, or a
        timedelta or a number of seconds from now; so is ``expires``, without which the task does
        not expire any more. The steps that ``once()`` has recorded are not repeated, unless
        ``restart`` is true. With ``dependents``, tasks that were canceled because this one had
        failed are reset, too, and wait for it again: soon after the commit. Those that have run, as
        with ``on_failure="run"``, stay as they are. Raises TypeError for
        ``expires`` if tasks of the model do not expire.
        """
        values = {"run_after": clock.time_of(run_after, write_database(self))}
        if expires is not None:
            values["expires_at"] = expiry_time(type(self), write_database(self), expires)
        data = {"restart": bool(restart), **({DEPENDENTS: True} if dependents else {})}
        writer.apply(self, EventKind.RESET, reason=reason, values=values, data=data)

    def cancel(self, reason: str = "", *, force: bool = False) -> None:
        """Cancel the task. Raises IllegalTransition if it is finished.

        A running task function sees it within a second, by ``check_stop()`` or ``should_stop``. Its
        result will be refused. ``force`` also ends a function that does not stop within another
        second: TaskStopped is raised in it, and if it goes on all the same, its worker process is
        replaced, and the other tasks of that process are released. A task that is canceled already
        can be canceled by force.
        """
        if force:
            [transition] = cancel_by_force([self], reason)
            if transition.refusal is not None:
                raise transition.refusal
        else:
            writer.apply(self, EventKind.CANCEL, reason=reason)
            request_stop(self, StopReason.CANCELED)

    def block(self, reason: str = "") -> TaskEvent:
        """Let the task wait until ``unblock()`` is called. Raises IllegalTransition if it started.

        A new task begins like that with ``objects.enqueue(blocked=...)``.
        """
        return writer.apply(self, EventKind.BLOCK, reason=reason)

    def unblock(self, reason: str = "") -> TaskEvent:
        """Queue the task, which was blocked, after the commit.

        Raises IllegalTransition if it is not BLOCKED: it was unblocked already, or canceled.
        """
        return writer.apply(self, EventKind.UNBLOCK, reason=reason)

    def note(self, reason: str = "", **data: Any) -> TaskEvent:
        """Append a ``note`` event to the stream, such as progress or a remark; returns it.

        ``progress=0.3`` in ``data``, a fraction from 0 to 1, moves the progress bar in the admin.
        Raises ValueError if it is no such number, and for a key that the package writes itself.
        In a task function it raises StaleTask, and sets ``should_stop``, if the attempt no longer
        holds the task: it was canceled, reset or recovered.
        """
        reject_keys(data, _NOT_IN_NOTES)
        if data.get("progress") is not None:
            data["progress"] = _parse_progress(data["progress"])
        attempt = self._running_attempt
        if attempt is None or attempt.pk != self.pk:
            worker = self.worker if self.status == Status.RUNNING else ""
            return writer.apply(self, EventKind.NOTE, reason=reason, worker=worker, data=data)
        try:
            event: TaskEvent = attempt.record(EventKind.NOTE, reason=reason, data=data).event
            return event
        except StaleTask as error:
            request_stop(self, reason_to_stop(error.current.get("status")))
            raise

    @property
    def runs(self) -> list[RunRecord]:
        """One record for each claim of the task, oldest first: worker, times, outcome and error.

        One query, unless ``prefetch_runs()`` has read them.
        """
        return runs_of(self)

    @property
    def retries(self) -> int:
        """How many retries were used since the task was enqueued or reset.

        Two queries; in a task function for the first time only, and in a first attempt none.
        """
        return self._read_tries().retries

    @property
    def snoozes(self) -> int:
        """How often the task function raised Snooze since then; queries as of ``retries``."""
        return self._read_tries().snoozes

    def _read_tries(self) -> Tries:
        if self._running_attempt is not None:
            running: Attempt = self._running_attempt
            return running.tries()
        return read_tries(type(self), write_database(self), self.pk)

    def explain(self) -> str:
        """Why the task does not run now: one sentence in the active language.

        Reads the row again: it says what happened to the task since the instance was read, too.
        At most four queries and five commands to Redis. Raises nothing if Redis, or the database
        of operator commands, does not answer.
        """
        return explain(self).translate()

    def state_at(self, moment: datetime) -> Projection:
        """The projected columns at ``moment``, without results: the fold of earlier events."""
        stream = events_of(type(self), write_database(self)).filter(task=self.pk)
        return fold(takewhile(lambda event: event.event_time <= moment, stream))

    def hold(self, reason: str = "") -> TaskEvent:
        """Put a legal hold on the task: nothing of it may be deleted or erased until ``lift()``."""
        return writer.apply(self, EventKind.HOLD, reason=reason)

    def lift(self, reason: str = "") -> TaskEvent:
        """Lift the legal hold."""
        return writer.apply(self, EventKind.LIFT, reason=reason)

    @property
    def is_held(self) -> bool:
        """Whether the task is on legal hold. One query."""
        return bool(pks_on_hold(table_model(type(self)), write_database(self), [self.pk]))

    def erase(self, reason: str = "") -> bool:
        """Erase result, error and other payload from the row and from the events.

        The digest chain stays valid, and an ``erase`` event records actor and reason. Returns
        whether there was anything to erase. Raises IllegalTransition unless the task is finished,
        and TaskHeld if it is on hold.
        """
        reject_held(table_model(type(self)), write_database(self), self)
        return bool(erasure.erase([self], reason))

    def wait(self, timeout: float | timedelta | None = None) -> Self:
        """Wait until the task is final and return it, refreshed.

        Raises WaitTimeout after ``timeout``, seconds or a timedelta; None waits forever. Inside a
        transaction it raises TransactionManagementError, unless the task is final already: workers
        see the task after the commit. On a running event loop it raises SynchronousOnlyOperation.
        """
        waiting.wait_until_final(self, timeout)
        return self

    after = after

    @property
    def prerequisites(self) -> Prerequisites:
        """The tasks that this one waits, or has waited, for: iterate, or call ``failed()``."""
        return Prerequisites(self)

    acancel = async_methods.acancel
    anote = async_methods.anote
    aonce = async_methods.aonce
    aprogress = async_methods.aprogress
    areset = async_methods.areset
    aunblock = async_methods.aunblock
    await_result = async_methods.await_result


def _inserts_as_django(model: type[SimpleTask]) -> bool:
    """Whether no class that ``model`` derives from has a say in how SimpleTask inserts a row."""
    return (
        model._do_insert is SimpleTask._do_insert and super(SimpleTask, model).save is _DJANGOS_SAVE
    )


def _parse_progress(progress: Any) -> Any:
    """A fraction as it is written; raises ValueError unless it is one."""
    is_number = isinstance(progress, numbers.Real | Decimal) and not isinstance(progress, bool)
    if not is_number or math.isnan(progress) or not 0 <= progress <= 1:
        raise ValueError(
            f"progress is {progress!r}; expected a fraction from 0 to 1: 5 of 20 is 5 / 20."
        )
    return progress if isinstance(progress, int | float | Decimal) else float(progress)


def _create_event_model(sender: type[models.Model], **_: Any) -> None:
    if (
        issubclass(sender, SimpleTask)
        and table_model(sender) is sender
        and sender.django_simpletask3_event_model is None
        and not _has_model_of_that_name(sender)
    ):
        make_event_model(sender)


def _has_model_of_that_name(model: type[SimpleTask]) -> bool:
    """Whether the app has a model of its own with the name of the event model."""
    meta = model._meta
    existing = meta.apps.all_models[meta.app_label].get(f"{meta.model_name}event")
    return existing is not None and not issubclass(existing, TaskEvent)


def _give_way(sender: type[models.Model], **_: Any) -> None:
    """Forget an event model if ``sender`` is a model of the app with the same name."""
    meta = sender._meta
    models_of_app = meta.apps.all_models[meta.app_label]
    existing = models_of_app.get(str(meta.model_name))
    if existing is None or issubclass(sender, TaskEvent) or not issubclass(existing, TaskEvent):
        return
    # Django registers the model after this signal, and would raise or leave two models with one
    # name. The check django_simpletask3.E104 names the task model.
    del models_of_app[str(meta.model_name)]
    meta.apps.clear_cache()


@register(Tags.models)
def check_installation(**_: object) -> list[CheckMessage]:
    """Check that the package is installed; the other checks are registered when it is."""
    if apps.is_installed("django_simpletask3"):
        return []
    return [
        Error(
            "There are task models, but django_simpletask3 is not in INSTALLED_APPS.",
            hint='Add "django_simpletask3" to INSTALLED_APPS, and run migrate.',
            id=INSTALLATION_ID,
        )
    ]


def _replace_parents_manager(sender: type[models.Model], **_: Any) -> None:
    """Let no manager that Django made for a parent hide ``SimpleTask.objects``."""
    if issubclass(sender, SimpleTask) and sender._meta.managers_map["objects"].auto_created:
        sender.add_to_class("objects", TaskQuerySet.as_manager())


def _record_deletion(sender: type[models.Model], instance: Any, using: str, **_: Any) -> None:
    # The root row of a multi-table task is the task; Django deletes it in any case.
    if issubclass(sender, SimpleTask) and sender._meta.concrete_model is table_model(sender):
        if is_being_pruned(sender._meta.db_table, instance.pk):
            return
        with suppress(TaskGone):
            # No savepoint: each savepoint has its own commit hook, which would send a command to
            # Redis for each row (test_a_thousand_deleted_tasks_cost_a_few_calls).
            writer.apply(instance, EventKind.DELETE, using=using, savepoint=False)
        # Now that the row is locked (test_a_deletion_waits_for_a_hold_that_is_being_put).
        reject_held(table_model(sender), using, instance)


class_prepared.connect(_give_way, dispatch_uid="django_simpletask3.names")
class_prepared.connect(_replace_parents_manager, dispatch_uid="django_simpletask3.manager")
class_prepared.connect(_create_event_model, dispatch_uid="django_simpletask3.stream")
pre_delete.connect(_record_deletion, dispatch_uid="django_simpletask3.deletion")
