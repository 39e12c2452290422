"""Run in a process: enqueue tasks, drain the queue and print the outcomes as JSON."""

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


def order_import(file: ContentFile) -> OrderImport:
    return OrderImport.objects.create(file=file)


def text(content: str) -> ContentFile:
    return ContentFile(content.encode(), "orders.csv")


def drain() -> None:
    command = [sys.executable, str(MANAGE), "django-simpletask3-server", "--burst"]
    subprocess.run(command, check=True, stdout=sys.stderr, timeout=60)


def outcome_of(task: Any) -> dict[str, Any]:
    task.refresh_from_db()
    return {
        "status": task.status.name,
        "result": task.result_data,
        "error": task.error_data and [task.error_data["type"], task.error_data["message"]],
        "events": [str(event.kind) for event in task.events.all()],
    }


def sums(task: OrderImport) -> dict[str, Decimal]:
    """The totals of the rows, computed independently."""
    orders = task.orders.all()
    return {
        first.customer: sum(order.amount for order in orders if order.customer == first.customer)
        for first in orders
    }


call_command("migrate", verbosity=0)
wide = picture("Wide", sample("pictures/dunes.jpg"))
upright = picture("Upright", sample("pictures/lighthouse.jpg"))
clear = picture("Clear", sample("pictures/logo.png"))
cut = picture("Cut off", sample("pictures/cut-off-upload.jpg"))
none = picture("No picture", text("hello"))
tasks = {
    **{picture.title: picture.thumbnails.get() for picture in (wide, upright, clear, cut, none)},
    "sheet": sheet("Some", wide, upright, cut),
    "bad sheet": sheet("Bad", cut, none),
    "empty sheet": sheet("Empty"),
    "october": order_import(sample("orders/orders-2026-10.csv")),
    "november": order_import(sample("orders/orders-2026-11-bad-lines.csv")),
    "newsletter": order_import(sample("orders/newsletter.csv")),
    "nothing": order_import(
        text(f"{HEADINGS}A-1,tomorrow,Ann,Poster,1,2\n,,,,,\nA-2,2026-01-01,Ann\n")
    ),
    "excel": order_import(text(f"{BOM}{HEADINGS}A-1,2026-01-02,Ann,Poster,2,1.25\n")),
}
drain()
outcomes: dict[str, Any] = {name: outcome_of(task) for name, task in tasks.items()}
for name in ("october", "november", "newsletter"):
    outcomes[name] |= {
        "orders": tasks[name].orders.count(),
        "columns": [tasks[name].accepted, tasks[name].rejected],
        "sums agree": sums(tasks[name]) == (tasks[name].result_data or {}).get("totals", {}),
    }
outcomes["notifications"] = [
    str(notification) for notification in Notification.objects.order_by("pk")
]

for name in ("Wide", "october"):
    tasks[name].reset()
drain()
outcomes["again"] = {name: outcome_of(tasks[name]) for name in ("Wide", "october")}
outcomes["again"] |= {
    "orders": tasks["october"].orders.count(),
    "thumbnails": sorted(default_storage.listdir("thumbnails")[1]),
    "notifications": Notification.objects.count(),
}

for _ in range(2):
    notify(task=tasks["Wide"], event=tasks["Wide"].events.last())
outcomes["notified twice"] = Notification.objects.count()
Notification.objects.filter(task_label="pictures.ContactSheet").delete()
outcomes["catching up"] = [catch_up(), catch_up(), Notification.objects.count()]
print(json.dumps(outcomes, default=str))
