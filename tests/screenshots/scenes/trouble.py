"""A project that needs attention: a node was lost, a queue is paused, messages are dead."""

from datetime import timedelta
from typing import Any

from django.db import models

from django_simpletask3 import control, subscriptions
from django_simpletask3.context import task_context
from django_simpletask3.queue import get_queue
from tests.screenshots.pages import NOW
from tests.screenshots.scenes import day
from tests.screenshots.scenes.steps import (
    WORKERS,
    after,
    at,
    enqueue,
    recover,
    renew,
    report,
    set_clock,
    start,
    succeed,
)
from tests.screenshots.site.billing import subscribers
from tests.screenshots.site.billing.models import InvoiceMail, Payout, StatementExport
from tests.screenshots.site.orders.models import OrderImport


def fill() -> dict[str, models.Model]:
    """Fill the tables."""
    at("04:00", day=27)
    schedules = day.Schedules()
    at("03:12:40")
    day.lose_an_attempt(OrderImport(file="orders-rates.csv"), node="app-1", ran=140.0)
    day.export_statements(schedules)
    day.work_for_an_hour(schedules, until="13:19")
    subscribers.is_crm_up = False
    fail_mails()
    deliver()
    lose_a_node()
    import_for_half_an_hour()
    drop_messages()
    pause_payouts()
    import_orders()
    stop_sending()
    at("13:21:30")
    report("app-1", "03:13:02", 1.26, {"orders.OrderImport": (6, 1), "billing.Payout": (4, 0)})
    models = {"orders.OrderImport": (8, 1), "billing.StatementExport": (2, 1)}
    report("app-2", "06:40:10", 2.26, models)
    set_clock(NOW)
    return {}


def fail_mails() -> None:
    """Mails that fail; the customers' server, which has to learn of them, is away."""
    for number in range(6):
        at(f"13:1{number}:30")
        mail = start(enqueue(InvoiceMail(invoice=f"2026-8{number}", to="x@acme.example")), "app-1")
        after(2.0)
        day.fail(mail, day.REFUSED, day.SEND, why="no_retry_left")


def deliver() -> None:
    at("13:19:30")
    while subscriptions.deliver(limit=1000):
        pass


def lose_a_node() -> None:
    """Node app-3 is lost with four imports: they run again."""
    at("13:18:50")
    files = [f"orders-{name}.xml" for name in ("north", "east", "south", "west")]
    lost = [start(enqueue(OrderImport(file=file)), "app-3", lease=70.0) for file in files]
    at("13:20:02")
    recover(*lost)
    for task in lost:
        after(7.0)
        start(task, "app-1", lease=300.0)
        after(52.0)
        succeed(task, {"orders": 9204})


def import_for_half_an_hour() -> None:
    """Imports that end; some cannot be read."""
    for number in range(12):
        set_clock(NOW - timedelta(minutes=38 - 3 * number))
        task = enqueue(OrderImport(file=f"orders-part-{number}.csv"))
        after(0.5 + number / 10)
        start(task, f"app-{1 + number % 2}", lease=300.0)
        after(90.0 + 7 * (number % 5))
        if number % 4 == 1:
            day.fail(task, "ValueError: row 17 has no price", day.READ[:1], why="no_retry_left")
        else:
            succeed(task, {"orders": 640 + number})


def drop_messages() -> None:
    """Five messages of payouts could not be delivered."""
    queue, channel = get_queue(), Payout.get_event_channel()
    reasons = (
        "message for a database that holds no billing.Payout: archive",
        "row cannot be read: ValueError('amount: \"12,50\" is no number')",
    )
    for number in range(5):
        at(f"12:5{number + 4}:10")
        enqueue(Payout(recipient=f"carrier {number}", amount=310 + number))
        [message] = queue.claim(channel, worker=WORKERS["app-3"], lease=60)
        after(20.0)
        queue.dead_letter(message, reasons[number in (2, 3)])


def pause_payouts() -> None:
    at("13:02:10")
    with task_context(actor="jonas", reason="bank statement first"):
        control.pause(Payout)
    for number in range(12):
        after(31.0)
        enqueue(Payout(recipient=f"supplier {number}", amount=90 + number))


def import_orders() -> None:
    """What still runs."""
    at("14:01:50")
    for number, file in enumerate(("orders-acme-retry.csv", "orders-2026-11-28.csv")):
        task = start_and_renew(OrderImport(file=file), f"app-{number + 1}")
        task.note(f"page {31 * (number + 1)} of 100", progress=0.31 * (number + 1))
    at("14:03:10")
    start_and_renew(StatementExport(month="October 2026"), "app-2")


def start_and_renew(task: Any, node: str) -> Any:
    enqueue(task, by="maria")
    after(0.8)
    return renew(start(task, node))


def stop_sending() -> None:
    """No node takes mails any more: they wait."""
    for number in range(41):
        set_clock(NOW - timedelta(minutes=44) + timedelta(minutes=number))
        enqueue(InvoiceMail(invoice=f"2026-{1190 + number}", to=f"c{number}@north.example"))
