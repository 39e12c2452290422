"""One small task model for each form that a task model of a project may have."""

import uuid
from datetime import timedelta
from typing import Any

from django.db import models

from django_simpletask3.checks.names import RESERVED_NAMES
from django_simpletask3.limits import Limit
from django_simpletask3.models import (
    ExpiringTask,
    SimpleTask,
    TaskEvent,
    UniqueTask,
    task_foreign_key,
)
from django_simpletask3.unique import Unique
from tests.eventually import eventually
from tests.testapp import executors, scripts


class Invoice(SimpleTask):
    """An ordinary task model: columns, a number of threads, a task function."""

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
    """The task function takes any keyword arguments."""

    def do_task(self, **kwargs: Any) -> list[str]:
        return sorted(kwargs)


class ByPath(SimpleTask):
    """Executor named by a dotted path."""

    django_simpletask3_executor = "tests.testapp.executors.deliver"

    carrier = models.CharField(max_length=32, blank=True)


class ByCallable(SimpleTask):
    """Executor set as a function, which attribute access would bind."""

    django_simpletask3_executor = executors.collect

    carrier = models.CharField(max_length=32, blank=True)


class ByDefault(SimpleTask):
    """Neither ``do_task`` nor executor: ``tests.testapp.tasks.ByDefaultExecutor``."""

    carrier = models.CharField(max_length=32, blank=True)


class UuidKeyed(SimpleTask):
    """The key is known before the row is inserted."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)

    def do_task(self) -> str:
        return str(self.pk)


class TextKeyed(SimpleTask):
    """The key is a text, which may contain a colon, a space or an umlaut."""

    id = models.CharField(primary_key=True, max_length=64)

    def do_task(self) -> str:
        return self.pk


class Numbered(SimpleTask):
    """The key is not called ``id``."""

    number = models.AutoField(primary_key=True)

    def do_task(self) -> int:
        return self.number


class Reminder(SimpleTask):
    """A Meta that does not inherit from SimpleTask's."""

    text = models.CharField(max_length=64, blank=True)

    class Meta:
        verbose_name = "friendly reminder"
        verbose_name_plural = "friendly reminders"
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
    """The default manager hides rows, which must run all the same."""

    hidden = models.BooleanField(default=True)

    objects = VisibleManager()

    def do_task(self) -> str:
        return "OK"


class Ledger(SimpleTask):
    """A custom table name."""

    class Meta:
        db_table = "testapp_own_table"

    def do_task(self) -> str:
        return "OK"


class Elsewhere(SimpleTask):
    """Stored in the database ``other`` (routers.py)."""

    task_biz_field = models.CharField(max_length=64, blank=True)

    def do_task(self) -> str:
        self.task_biz_field = "from the other side"
        return "OK"


class Shipment(SimpleTask):
    """An abstract model between SimpleTask and the model."""

    weight = models.FloatField(default=1.0)

    class Meta:
        abstract = True

    def do_task(self) -> str:
        return f"{self.weight} kg"


class Parcel(Shipment):
    """Inherits its task function from Shipment."""


class Document(SimpleTask):
    """Columns whose values are not scalars."""

    upload = models.FileField(upload_to="documents", blank=True)
    labels = models.JSONField(default=dict, blank=True)

    def do_task(self) -> int:
        self.labels["read"] = True
        with self.upload.open("rb") as file:
            return len(file.read())


class MirroredField(models.JSONField):
    """A custom field, which stores text backwards in the database."""

    def get_prep_value(self, value: Any) -> Any:
        return value[::-1] if isinstance(value, str) else value

    def from_db_value(self, value: Any, *args: Any) -> Any:
        found = super().from_db_value(value, *args)
        return found[::-1] if isinstance(found, str) else found


class Odd(SimpleTask):
    """Columns that only Django can serialize, and one that the database computes."""

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
    """Runs its script (scripts.py), so that a test can control another process."""

    script = models.JSONField(default=dict)

    def do_task(self) -> Any:
        return scripts.run_script(self.script or {"do": "value"}, self.attempt)


class Everywhere(SimpleTask):
    """Like ``Scripted``, in any database."""

    script = models.JSONField(default=dict)

    def do_task(self) -> Any:
        return scripts.run_script(self.script or {"do": "value"}, self.attempt)


class Customer(models.Model):
    """Not a task model; deleting a customer deletes its letters."""

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
    """Deleted by a cascade from its invoice, which is a task too."""

    invoice = models.ForeignKey(Invoice, on_delete=models.CASCADE, null=True, blank=True)

    def do_task(self) -> str:
        return "last warning"


class Receipt(models.Model):
    """Protects its invoice from deletion."""

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT)

    def __str__(self) -> str:
        return f"receipt of {self.invoice_id}"


class Occasion(models.Model):
    """A concrete parent that is not a task."""

    title = models.CharField(max_length=64, default="")

    def __str__(self) -> str:
        return self.title


class Ticket(SimpleTask, Occasion):
    """A multi-table child of another model than a task: its key is the link to the parent."""

    price = models.IntegerField(default=0)

    def do_task(self) -> str:
        self.title, self.price = "opera", 12
        return "sold"


class Fleeting(SimpleTask):
    """Retained for one microsecond."""

    django_simpletask3_retention = {SimpleTask.SUCCESS: timedelta(microseconds=1)}

    def do_task(self) -> str:
        return "gone"


class Offer(ExpiringTask):
    """Like ``Scripted``, one after the other; may expire."""

    django_simpletask3_worker_number = 1

    script = models.JSONField(default=dict)

    def do_task(self) -> Any:
        return scripts.run_script(self.script or {"do": "value"}, self.attempt)


class FlashOffer(ExpiringTask):
    """Expires a minute after it was enqueued, and is tried again twice."""

    django_simpletask3_expires = timedelta(minutes=1)
    django_simpletask3_max_retries = 2

    def do_task(self) -> str:
        raise ValueError("sold out")


class Bill(UniqueTask, ExpiringTask):
    """Like ``Scripted``; one at a time for each number, and may expire; in any database."""

    django_simpletask3_unique = Unique("{number}")
    django_simpletask3_max_retries = 1

    number = models.CharField(max_length=64, null=True, blank=True)
    amount = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    due = models.DateTimeField(null=True, blank=True)
    script = models.JSONField(default=dict, blank=True)

    def do_task(self) -> Any:
        return scripts.run_script(self.script or {"do": "value"}, self.attempt)


class PaidBill(Bill):
    """A proxy: it has the keys of Bill."""

    class Meta:
        proxy = True


class ForeignBill(Bill):
    """A multi-table child: it has the keys of Bill."""

    currency = models.CharField(max_length=3, default="CHF")


class Audited(SimpleTask):
    """Has a custom event model with additional columns."""

    django_simpletask3_event_model = "testapp.AuditEntry"

    def do_task(self) -> str:
        return "OK"


class AuditEntry(TaskEvent):
    """The event model of Audited."""

    task = task_foreign_key(Audited)
    reviewed = models.BooleanField(default=False)
    written = models.DateTimeField(auto_now_add=True)
    is_first = models.GeneratedField(
        expression=models.Q(sequence=1), output_field=models.BooleanField(), db_persist=True
    )

    class Meta(TaskEvent.Meta):
        abstract = False


class Hiding(SimpleTask):
    """Columns hide every method and attribute of SimpleTask that a column may hide."""

    vars().update(
        {
            name: models.CharField(max_length=32, default="mine", db_column=f"own_{name}")
            for name in sorted(RESERVED_NAMES)
        }
    )
    script = models.JSONField(default=dict)
    # What the admin calls two of its columns.
    started_at = models.DateTimeField(null=True, blank=True)
    done_at = models.CharField(max_length=32, default="mine")

    def do_task(self) -> Any:
        self.wait, self.once = "changed", "changed"
        return scripts.run_script(self.script or {"do": "value"}, self.attempt)


class Step(SimpleTask):
    """Like ``Scripted``; other tasks may wait for it."""

    django_simpletask3_can_be_awaited = True

    script = models.JSONField(default=dict)

    def do_task(self) -> Any:
        return scripts.run_script(self.script or {"do": "value"}, self.attempt)


class QuickStep(Step):
    """A proxy of it."""

    class Meta:
        proxy = True

    def do_task(self) -> str:
        return "quick"


class LargeStep(Step):
    """A multi-table child."""

    size = models.IntegerField(default=0)

    def do_task(self) -> str:
        return "large"


class Hurried(SimpleTask):
    """Like ``Scripted``, with a time limit of 0.3 seconds."""

    django_simpletask3_time_limit = 0.3

    script = models.JSONField(default=dict)

    def do_task(self) -> Any:
        return scripts.run_script(self.script or {"do": "value"}, self.attempt)


class HurriedCoroutine(SimpleTask):
    """An ``async def`` with a time limit of 0.3 seconds, which one attempt exceeds."""

    django_simpletask3_time_limit = 0.3
    django_simpletask3_max_retries = 1

    way = models.CharField(max_length=32, default="sleep")
    folder = models.CharField(max_length=255, default="", blank=True)

    async def do_task(self) -> str:
        if self.attempt > 1:
            return "again"
        try:
            await scripts.COROUTINES[self.way]()
        finally:
            scripts.touch(f"{self.folder}/ended")
        return "too late"


def new_customer() -> str:
    return uuid.uuid4().hex


class Errand(ExpiringTask):
    """Like ``Scripted``; at most two of a customer run at once, and each has one of its own."""

    django_simpletask3_limit = Limit(2, key="{customer}")
    django_simpletask3_worker_number = 4

    customer = models.CharField(max_length=32, default=new_customer)
    script = models.JSONField(default=dict)

    def do_task(self) -> Any:
        return scripts.run_script(self.script or {"do": "value"}, self.attempt)


class Attentive(SimpleTask):
    """The first attempt runs until it should stop, and creates a file then."""

    folder = models.CharField(max_length=255, default="", blank=True)

    def do_task(self) -> str:
        if self.attempt > 1:
            return "again"
        scripts.touch(f"{self.folder}/here")
        eventually(lambda: self.should_stop, timeout=60)
        scripts.touch(f"{self.folder}/stopped")
        return "too late"
