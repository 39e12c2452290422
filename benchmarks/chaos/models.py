"""The tasks of the run; each writes its actions into the execution log."""

import time
import uuid
from typing import Any

from django.db import models

from benchmarks.chaos import execution_log
from django_simpletask3.models import SimpleTask


class ChaosTask(SimpleTask):
    """Takes ``seconds``, then returns or raises; what it returns names the run that did it."""

    seconds = models.FloatField(default=0.0)
    fails = models.BooleanField(default=False)
    done_by = models.CharField(max_length=255, blank=True)

    class Meta:
        abstract = True

    def do_task(self, worker: str) -> dict[str, Any]:
        attempt = self.attempt
        execution_log.write("begin", self._meta.model_name, self.pk, attempt, worker)
        self._take_time()
        self.done_by = f"{worker}/{attempt}"
        execution_log.write("end", self._meta.model_name, self.pk, attempt, worker)
        if self.fails:
            raise ValueError("as asked")
        return {"worker": worker, "attempt": attempt}

    def _take_time(self) -> None:
        end = time.monotonic() + self.seconds
        while (rest := end - time.monotonic()) > 0 and not self.should_stop:
            time.sleep(min(rest, 0.05))


class Job(ChaosTask):
    """However often its worker is killed, it is tried again."""

    django_simpletask3_worker_number = 4
    django_simpletask3_max_attempts = 1000


class Parcel(ChaosTask):
    """Its key is chosen by the program; it is retried, and dropped if it loses too many workers."""

    django_simpletask3_worker_number = 2
    django_simpletask3_max_retries = 1

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)


MODELS: dict[str, type[ChaosTask]] = {"job": Job, "parcel": Parcel}
