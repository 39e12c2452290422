"""The task models of a run; their task functions write to the execution log."""

import time
import uuid
from contextlib import suppress
from functools import partial
from typing import Any

from django.db import DatabaseError, InterfaceError, models

from benchmarks.chaos import execution_log
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
        self._wait()
        is_complete = not self.has_steps or self._take_steps(attempt)
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

    def _wait(self) -> None:
        end = time.monotonic() + self.seconds
        while (remaining := end - time.monotonic()) > 0 and not self.should_stop:
            time.sleep(min(remaining, 0.05))
            if self.has_steps:
                self.progress(0, len(STEPS), "waiting")

    def _take_steps(self, attempt: int) -> bool:
        """Take the steps; return whether the database let them be recorded."""
        log_effect = partial(execution_log.write, "step", self._meta.model_name, self.pk, attempt)
        for number, step in enumerate(STEPS, 1):
            try:
                self.once(step, log_effect, step)
                self.once(f"{step} row", self._add_effect, step, atomic=True)
            except (DatabaseError, InterfaceError, CheckpointNotRecorded):
                return False
            self.progress(number, len(STEPS))
        return True

    def _add_effect(self, step: str) -> None:
        Effect._default_manager.create(
            task=f"{self._meta.model_name} {self.pk}", step=f"{step} row"
        )


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
    """A task with a limit: at most two of a line run at once."""

    django_simpletask3_worker_number = 4
    django_simpletask3_max_attempts = 1000
    django_simpletask3_limit = Limit(2, key="{line}")

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


MODELS: dict[str, type[ChaosTask]] = {"job": Job, "parcel": Parcel, "call": Call, "part": Part}
