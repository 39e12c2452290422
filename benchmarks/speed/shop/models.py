"""The task that is measured: one column, and a task function that does as the column says."""

from django.db import models

from benchmarks.speed import bodies
from django_simpletask3.models import SimpleTask


class Noop(SimpleTask):
    """Leaves its mark in the trace."""

    text = models.CharField(max_length=64, default="")

    class Meta:
        app_label = "bench"

    def do_task(self) -> None:
        bodies.perform()


class PrerequisiteNoop(SimpleTask):
    """The same, for which others may wait."""

    django_simpletask3_can_be_awaited = True

    text = models.CharField(max_length=64, default="")

    class Meta:
        app_label = "bench"

    def do_task(self) -> None:
        bodies.perform()
