"""Runs in a process of its own: hands in files, drains the queue, tells as JSON how all ended."""

import json
import subprocess
import sys
from decimal import Decimal
from typing import Any

import django

django.setup()

from demonstration.processes import MANAGE  # noqa: E402
from demonstration.samples import SAMPLES  # noqa: E402
from django.core.files.base import ContentFile  # noqa: E402
from django.core.files.storage import default_storage  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import transaction  # noqa: E402
from orders.models import OrderImport  # noqa: E402
from outbox.models import Notification  # noqa: E402
from outbox.receivers import catch_up, notify  # noqa: E402
from pictures.models import ContactSheet, Picture  # noqa: E402

HEADINGS = "number,ordered_on,customer,article,quantity,unit_price\n"
BOM = "\ufeff"


def sample(path: str) -> ContentFile:
    return ContentFile((SAMPLES / path).read_bytes(), path.rpartition("/")[2])


def picture(title: str, file: ContentFile) -> Picture:
    return Picture.objects.create(title=title, image=file)


def sheet(title: str, *pictures: Picture) -> ContactSheet:
    with transaction.atomic():
        task = ContactSheet.objects.create(title=title)
        task.pictures.set(pictures)
    return task


def imported(file: ContentFile) -> OrderImport:
    return OrderImport.objects.create(file=file)


def text(content: str) -> ContentFile:
    return ContentFile(content.encode(), "orders.csv")


def drain() -> None:
    command = [sys.executable, str(MANAGE), "django-simpletask3-server", "--burst"]
    subprocess.run(command, check=True, stdout=sys.stderr, timeout=60)


def told(task: Any) -> dict[str, Any]:
    task.refresh_from_db()
    return {
        "status": task.status.name,
        "result": task.result_data,
        "error": task.error_data and [task.error_data["type"], task.error_data["message"]],
        "events": [str(event.kind) for event in task.events.all()],
    }


def sums(task: OrderImport) -> dict[str, Decimal]:
    """The totals of the rows, added up another way."""
    orders = task.orders.all()
    return {
        each.customer: sum(one.amount for one in orders if one.customer == each.customer)
        for each in orders
    }


call_command("migrate", verbosity=0)
wide = picture("Wide", sample("pictures/dunes.jpg"))
upright = picture("Upright", sample("pictures/lighthouse.jpg"))
clear = picture("Clear", sample("pictures/logo.png"))
cut = picture("Cut off", sample("pictures/cut-off-upload.jpg"))
none = picture("No picture", text("hello"))
tasks = {
    **{each.title: each.thumbnails.get() for each in (wide, upright, clear, cut, none)},
    "sheet": sheet("Some", wide, upright, cut),
    "bad sheet": sheet("Bad", cut, none),
    "empty sheet": sheet("Empty"),
    "october": imported(sample("orders/orders-2026-10.csv")),
    "november": imported(sample("orders/orders-2026-11-bad-lines.csv")),
    "newsletter": imported(sample("orders/newsletter.csv")),
    "nothing": imported(text(f"{HEADINGS}A-1,tomorrow,Ann,Pen,1,2\n,,,,,\nA-2,2026-01-01,Ann\n")),
    "excel": imported(text(f"{BOM}{HEADINGS}A-1,2026-01-02,Ann,Pen,2,1.25\n")),
}
drain()
answer: dict[str, Any] = {name: told(task) for name, task in tasks.items()}
for name in ("october", "november", "newsletter"):
    answer[name] |= {
        "orders": tasks[name].orders.count(),
        "columns": [tasks[name].accepted, tasks[name].rejected],
        "sums agree": sums(tasks[name]) == (tasks[name].result_data or {}).get("totals", {}),
    }
answer["notifications"] = [str(one) for one in Notification.objects.order_by("pk")]

for name in ("Wide", "october"):
    tasks[name].reset()
drain()
answer["again"] = {name: told(tasks[name]) for name in ("Wide", "october")}
answer["again"] |= {
    "orders": tasks["october"].orders.count(),
    "thumbnails": sorted(default_storage.listdir("thumbnails")[1]),
    "notifications": Notification.objects.count(),
}

for _ in range(2):
    notify(task=tasks["Wide"], event=tasks["Wide"].events.last())
answer["told twice"] = Notification.objects.count()
Notification.objects.filter(task_label="pictures.ContactSheet").delete()
answer["catching up"] = [catch_up(), catch_up(), Notification.objects.count()]
print(json.dumps(answer, default=str))
