"""Task models with migrations, which the testapp lacks."""

from django.db import models

from django_simpletask3.models import SimpleTask, TaskEvent, task_foreign_key


class Book(SimpleTask):
    """Its generated event model is protected."""

    title = models.CharField(max_length=64, blank=True)

    def do_task(self) -> str:
        return self.title


class Scroll(SimpleTask):
    """Has a custom event model."""

    django_simpletask3_event_model = "migrated_app.ScrollRecord"

    def do_task(self) -> str:
        return "unrolled"


class ScrollRecord(TaskEvent):
    """Has a custom table name that must be quoted."""

    task = task_foreign_key("migrated_app.Scroll")
    clerk = models.CharField(max_length=64, blank=True)

    class Meta(TaskEvent.Meta):
        db_table = "Records of Scrolls"


class Atlas(SimpleTask):
    """Stored in the database ``other``."""

    def do_task(self) -> str:
        return "mapped"
