"""The task model, with a column of its own."""

from django.db import models

from django_simpletask3.models import SimpleTask


class Noop(SimpleTask):
    """Its executor would be found by name, were the app not inside of a package."""

    django_simpletask3_executor = "benchmarks.speed.contenders.simpletask3_0_1.tasks.NoopExecutor"
    text = models.CharField(max_length=64)
