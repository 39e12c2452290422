"""Task models with migrations, for the testapp has none."""

from django.db import models

from django_simpletask3.models import SimpleTask, TaskEvent, task_foreign_key


class Book(SimpleTask):
    """Its companion is protected."""

    title = models.CharField(max_length=64, blank=True)

    def do_task(self) -> str:
        return self.title


class Scroll(SimpleTask):
    """Has an event model of its own."""

    django_simpletask3_event_model = "migrated_app.ScrollRecord"

    def do_task(self) -> str:
        return "unrolled"


class ScrollRecord(TaskEvent):
    """A name of its own for the table, which has to be quoted."""

    task = task_foreign_key("migrated_app.Scroll")
    clerk = models.CharField(max_length=64, blank=True)

    class Meta(TaskEvent.Meta):
        db_table = "Records of Scrolls"


class Atlas(SimpleTask):
    """Lives in the database ``other``."""

    def do_task(self) -> str:
        return "mapped"
