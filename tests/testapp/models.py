"""One small task model per shape that a project may give its own."""

import uuid
from datetime import timedelta
from typing import Any

from django.db import models

from django_simpletask3.models import SimpleTask, TaskEvent, task_foreign_key
from tests.eventually import eventually
from tests.testapp import executors, scripts


class Invoice(SimpleTask):
    """The plain one: columns of its own, a number of workers, a body."""

    django_simpletask3_worker_number = 2

    amount = models.IntegerField(default=0)
    fails = models.BooleanField(default=False)
    task_biz_field = models.CharField(max_length=64, null=True, blank=True)

    def do_task(self) -> str:
        self.task_biz_field = "task biz data"
        if self.fails:
            raise ValueError(f"invoice of {self.amount} cannot be sent")
        return "OK"


class PaidInvoice(Invoice):
    """A proxy: the rows, the channel and the events are those of Invoice."""

    class Meta:
        proxy = True

    def do_task(self) -> str:
        return "paid"


class ForeignInvoice(Invoice):
    """A multi-table child."""

    currency = models.CharField(max_length=3, default="CHF")

    def do_task(self) -> str:
        super().do_task()
        return f"OK in {self.currency}"


class Keyworded(SimpleTask):
    """A body that takes whatever it is given."""

    def do_task(self, **kwargs: Any) -> list[str]:
        return sorted(kwargs)


class ByPath(SimpleTask):
    """Executor named by a dotted path."""

    django_simpletask3_executor = "tests.testapp.executors.deliver"

    carrier = models.CharField(max_length=32, blank=True)


class ByCallable(SimpleTask):
    """Executor given as a function, which a class attribute would bind."""

    django_simpletask3_executor = executors.collect

    carrier = models.CharField(max_length=32, blank=True)


class ByDefault(SimpleTask):
    """Neither body nor executor: ``tests.testapp.tasks.ByDefaultExecutor``."""

    carrier = models.CharField(max_length=32, blank=True)


class UuidKeyed(SimpleTask):
    """The key is there before the row is."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)

    def do_task(self) -> str:
        return str(self.pk)


class TextKeyed(SimpleTask):
    """The key is a text, which may hold a colon, a blank or an umlaut."""

    id = models.CharField(primary_key=True, max_length=64)

    def do_task(self) -> str:
        return self.pk


class Numbered(SimpleTask):
    """The key is not called ``id``."""

    number = models.AutoField(primary_key=True)

    def do_task(self) -> int:
        return self.number


class Reminder(SimpleTask):
    """A Meta of its own that inherits nothing from SimpleTask's."""

    text = models.CharField(max_length=64, blank=True)

    class Meta:
        verbose_name = "reminder to somebody"
        verbose_name_plural = "reminders to somebody"
        ordering = ("-pk",)

    def do_task(self) -> str:
        return self.text


class Gadget(SimpleTask):
    """There is no manager called ``objects``."""

    objects = None
    things = models.Manager()

    def do_task(self) -> str:
        return "OK"


class VisibleManager(models.Manager["Secret"]):
    def get_queryset(self) -> models.QuerySet["Secret"]:
        return super().get_queryset().filter(hidden=False)


class Secret(SimpleTask):
    """The default manager does not show every row; each must run all the same."""

    hidden = models.BooleanField(default=True)

    objects = VisibleManager()

    def do_task(self) -> str:
        return "OK"


class Ledger(SimpleTask):
    """A table name of its own."""

    class Meta:
        db_table = "testapp_own_table"

    def do_task(self) -> str:
        return "OK"


class Elsewhere(SimpleTask):
    """Lives in the database ``other`` (routers.py)."""

    task_biz_field = models.CharField(max_length=64, blank=True)

    def do_task(self) -> str:
        self.task_biz_field = "from the other side"
        return "OK"


class Shipment(SimpleTask):
    """An abstract step between SimpleTask and the model."""

    weight = models.FloatField(default=1.0)

    class Meta:
        abstract = True

    def do_task(self) -> str:
        return f"{self.weight} kg"


class Parcel(Shipment):
    """Has its body from Shipment."""


class Document(SimpleTask):
    """Columns whose values are more than a scalar."""

    upload = models.FileField(upload_to="documents", blank=True)
    labels = models.JSONField(default=dict, blank=True)

    def do_task(self) -> int:
        self.labels["read"] = True
        with self.upload.open("rb") as file:
            return len(file.read())


class MirroredField(models.JSONField):
    """A column that stands backwards in the database: a class of somebody's own says how."""

    def get_prep_value(self, value: Any) -> Any:
        return value[::-1] if isinstance(value, str) else value

    def from_db_value(self, value: Any, *args: Any) -> Any:
        found = super().from_db_value(value, *args)
        return found[::-1] if isinstance(found, str) else found


class Odd(SimpleTask):
    """Columns that only Django knows to write, and one that the database computes."""

    amount = models.IntegerField(default=0)
    span = models.DurationField(null=True, blank=True)
    mirrored = MirroredField(default=str, blank=True)
    doubled = models.GeneratedField(
        expression=models.F("amount") * 2, output_field=models.IntegerField(), db_persist=True
    )

    def do_task(self) -> str:
        self.mirrored = "done"
        return "odd"


class Scripted(SimpleTask):
    """Does what its script says (scripts.py), so that a test can drive another process."""

    script = models.JSONField(default=dict)

    def do_task(self) -> Any:
        return scripts.play(self.script or {"do": "value"}, self.attempt)


class Customer(models.Model):
    """No task, but tasks of it go when it goes."""

    name = models.CharField(max_length=64)

    def __str__(self) -> str:
        return self.name


class Letter(SimpleTask):
    """Deleted by a cascade from another model."""

    customer = models.ForeignKey(
        Customer, on_delete=models.CASCADE, related_name="letters", null=True
    )
    pages = models.IntegerField(default=1)

    def do_task(self) -> str:
        return f"Dear {self.customer}"


class Dunning(SimpleTask):
    """Goes when its invoice, which is a task too, goes."""

    invoice = models.ForeignKey(Invoice, on_delete=models.CASCADE, null=True, blank=True)

    def do_task(self) -> str:
        return "last warning"


class Receipt(models.Model):
    """Keeps its invoice from being deleted."""

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT)

    def __str__(self) -> str:
        return f"receipt of {self.invoice_id}"


class Fleeting(SimpleTask):
    """Kept for the blink of an eye."""

    django_simpletask3_retention = {SimpleTask.SUCCESS: timedelta(microseconds=1)}

    def do_task(self) -> str:
        return "gone"


class Audited(SimpleTask):
    """Has an event model of its own, with columns of its own."""

    django_simpletask3_event_model = "testapp.AuditEntry"

    def do_task(self) -> str:
        return "OK"


class AuditEntry(TaskEvent):
    """The stream of Audited."""

    task = task_foreign_key(Audited)
    reviewed = models.BooleanField(default=False)
    is_first = models.GeneratedField(
        expression=models.Q(sequence=1), output_field=models.BooleanField(), db_persist=True
    )

    class Meta(TaskEvent.Meta):
        abstract = False


class Hurried(SimpleTask):
    """Like ``Scripted``, but its bodies may not run for long."""

    django_simpletask3_time_limit = 0.3

    script = models.JSONField(default=dict)

    def do_task(self) -> Any:
        return scripts.play(self.script or {"do": "value"}, self.attempt)


class Attentive(SimpleTask):
    """Runs until it is asked to stop, and leaves a file when it was; only its first attempt."""

    folder = models.CharField(max_length=255, default="", blank=True)

    def do_task(self) -> str:
        if self.attempt > 1:
            return "again"
        scripts.touch(f"{self.folder}/here")
        eventually(lambda: self.should_stop, timeout=60)
        scripts.touch(f"{self.folder}/stopped")
        return "too late"
