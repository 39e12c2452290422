"""One row per task, with status, result and times."""

from django.db import models


class Status(models.TextChoices):
    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"


class Entry(models.Model):
    """Inserted before the task is enqueued, updated by the task."""

    text = models.CharField(max_length=64)
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.PENDING)
    result = models.TextField(null=True)
    error = models.TextField(null=True)
    created_time = models.DateTimeField(auto_now_add=True)
    started_time = models.DateTimeField(null=True)
    finished_time = models.DateTimeField(null=True)
