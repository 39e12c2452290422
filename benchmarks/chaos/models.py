"""The task models of a run; their task functions write to the execution log."""

import time
import uuid
from typing import Any

from django.db import models

from benchmarks.chaos import execution_log
from django_simpletask3.exceptions import Cancel, Retry, Snooze
from django_simpletask3.models import SimpleTask
from django_simpletask3.retries import Exponential


class ChaosTask(SimpleTask):
    """Run for ``seconds``, then return worker and attempt, raise, or do as ``request`` says.

    Each odd attempt raises Snooze or Retry if they are requested.
    """

    seconds = models.FloatField(default=0.0)
    fails = models.BooleanField(default=False)
    request = models.CharField(max_length=8, default="", blank=True)
    done_by = models.CharField(max_length=255, blank=True)

    class Meta:
        abstract = True

    def do_task(self, worker: str) -> dict[str, Any]:
        attempt = self.attempt
        execution_log.write("begin", self._meta.model_name, self.pk, attempt, worker)
        self._wait()
        self.done_by = f"{worker}/{attempt}"
        execution_log.write("end", self._meta.model_name, self.pk, attempt, worker)
        if self.fails:
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


class Job(ChaosTask):
    """A task that is started again however often its worker is killed."""

    django_simpletask3_worker_number = 4
    django_simpletask3_max_attempts = 1000


class Parcel(ChaosTask):
    """A task with a UUID key, which is retried twice and dropped after too many lost workers."""

    django_simpletask3_worker_number = 2
    django_simpletask3_max_retries = 2
    django_simpletask3_retry_on = "builtins.ValueError"
    django_simpletask3_retry_backoff = Exponential(first=0.1, maximum=1.0)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)


MODELS: dict[str, type[ChaosTask]] = {"job": Job, "parcel": Parcel}
