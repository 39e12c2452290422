"""The task models of a run; their task functions write to the execution log."""

import time
import uuid
from contextlib import suppress
from functools import partial
from typing import Any

from django.db import DatabaseError, InterfaceError, models

from benchmarks.chaos import execution_log
from benchmarks.chaos.versions import LIMIT
from django_simpletask3.contrib.tasks.models import FunctionTask, queue_models
from django_simpletask3.dependencies import group
from django_simpletask3.exceptions import Cancel, CheckpointNotRecorded, Retry, Snooze
from django_simpletask3.limits import Limit
from django_simpletask3.models import ExpiringTask, SimpleTask, TaskQuerySet, UniqueTask
from django_simpletask3.retries import Exponential
from django_simpletask3.unique import Unique

#: The steps of a task that ``has_steps``; each has an effect in the database and one elsewhere.
STEPS = ("first", "second")


class Effect(models.Model):
    """What a step wrote in the transaction of its checkpoint."""

    task = models.CharField(max_length=60)
    step = models.CharField(max_length=20)


class ChaosTask(SimpleTask):
    """Run for ``seconds``, then return worker and attempt, raise, or do as ``request`` says.

    Each odd attempt raises Snooze or Retry if they are requested. A task that ``has_steps`` takes
    them before it ends, and reports its progress.
    """

    seconds = models.FloatField(default=0.0)
    fails = models.BooleanField(default=False)
    request = models.CharField(max_length=8, default="", blank=True)
    has_steps = models.BooleanField(default=False)
    done_by = models.CharField(max_length=255, blank=True)

    class Meta:
        abstract = True

    def do_task(self, worker: str) -> dict[str, Any]:
        attempt = self.attempt
        execution_log.write("begin", self._meta.model_name, self.pk, attempt, worker)
        wait(self, self.seconds, has_progress=self.has_steps)
        is_complete = not self.has_steps or take_steps(self, self._meta.model_name)
        self.done_by = f"{worker}/{attempt}"
        execution_log.write("end", self._meta.model_name, self.pk, attempt, worker)
        if self.fails or not is_complete:
            raise ValueError("fails is set")
        if self.request == "cancel":
            raise Cancel("requested")
        if self.request == "snooze" and attempt % 2:
            raise Snooze("requested")
        if self.request == "retry" and attempt % 2:
            raise Retry("requested", after=0.1) from ValueError("requested")
        return {"worker": worker, "attempt": attempt}


def wait(task: Any, seconds: float, *, has_progress: bool) -> None:
    """Wait in a task function, until it should stop."""
    end = time.monotonic() + seconds
    while (remaining := end - time.monotonic()) > 0 and not task.should_stop:
        time.sleep(min(remaining, 0.05))
        if has_progress:
            task.progress(0, len(STEPS), "waiting")


def _add_effect(task: str, step: str) -> None:
    Effect._default_manager.create(task=task, step=step)


def take_steps(task: Any, name: str | None) -> bool:
    """Take the steps of a task, whose model has that name in the execution log.

    Return whether the database let them be recorded.
    """
    log_effect = partial(execution_log.write, "step", name, task.pk, task.attempt)
    for number, step in enumerate(STEPS, 1):
        row = f"{step} row"
        try:
            task.once(step, log_effect, step)
            task.once(row, partial(_add_effect, f"{name} {task.pk}", row), atomic=True)
        except (DatabaseError, InterfaceError, CheckpointNotRecorded):
            return False
        task.progress(number, len(STEPS))
    return True


class Job(ChaosTask):
    """A task that is started again however often its worker is killed."""

    django_simpletask3_worker_number = 4
    django_simpletask3_max_attempts = 1000


class Parcel(ChaosTask, UniqueTask, ExpiringTask):  # type: ignore[misc] # of django-stubs
    """A task with a UUID key, which may expire, is retried twice, and dropped after losses.

    One that has an address replaces the one that waits for this address.
    """

    django_simpletask3_unique = Unique("{address}", until="finished", on_conflict="replace")

    django_simpletask3_worker_number = 2
    django_simpletask3_max_retries = 2
    django_simpletask3_retry_on = "builtins.ValueError"
    django_simpletask3_retry_backoff = Exponential(first=0.1, maximum=1.0)

    objects = TaskQuerySet.as_manager()
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    address = models.CharField(max_length=20, null=True, blank=True)


class Call(ChaosTask):
    """A task with a limit: only some of a line run at once."""

    django_simpletask3_worker_number = 4
    django_simpletask3_max_attempts = 1000
    django_simpletask3_limit = Limit(LIMIT, key="{line}")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    line = models.IntegerField(default=0)


class Part(ChaosTask):
    """A task that others wait for, and that may wait for others; some enqueue a group."""

    django_simpletask3_worker_number = 4
    django_simpletask3_max_attempts = 1000
    django_simpletask3_can_be_awaited = True

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    splits = models.BooleanField(default=False)

    def do_task(self, worker: str) -> dict[str, Any]:
        if self.splits:
            with suppress(DatabaseError, InterfaceError, CheckpointNotRecorded):
                self.once("split", self._split, atomic=True)
        return super().do_task(worker)

    @staticmethod
    def _split() -> None:
        group(Part(), Part(fails=True)).then(Part(), on_failure="run").enqueue()


#: The task models by their names in the execution log.
MODELS: dict[str, type[Any]] = {
    "job": Job,
    "parcel": Parcel,
    "call": Call,
    "part": Part,
    "functiontask": FunctionTask,
}
#: Those with a channel: the queues of functions have one each.
CHANNELS: list[type[Any]] = [Job, Parcel, Call, Part, *queue_models()]
