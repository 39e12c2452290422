"""A project in which all is well."""

from datetime import timedelta

from django.db import models

from django_simpletask3.context import task_context
from tests.screenshots.pages import NOW
from tests.screenshots.scenes import day
from tests.screenshots.scenes.steps import (
    after,
    at,
    enqueue,
    renew,
    report,
    retry,
    set_clock,
    start,
)
from tests.screenshots.site.billing.models import InvoiceMail, Payout, StatementExport
from tests.screenshots.site.orders.models import OrderImport

ERROR = "TimeoutError: sftp.west.example did not answer within 10 s"


def fill() -> dict[str, models.Model]:
    """Fill the tables; the tasks that have a page of their own, by name."""
    at("04:00", day=27)
    schedules = day.Schedules()
    at("03:12:40")
    day.lose_an_attempt(OrderImport(file="orders-rates.csv"), node="app-4", ran=140.0)
    at("04:00")
    day.audit()
    succeeded = day.export_statements(schedules)
    day.work_for_an_hour(schedules)
    day.import_earlier_files()
    failed = day.fail_to_send_an_invoice()
    running = import_orders()
    day.deliver_all()
    hold_payouts()
    at("14:04:45")
    day.audit()
    wait()
    report("app-1", "03:13:02", 1.26, {"orders.OrderImport": (4, 1), "billing.Payout": (6, 1)})
    report("app-2", "06:40:10", 2.26, {"orders.OrderImport": (4, 1), "billing.InvoiceMail": (6, 0)})
    report("app-3", "14:01:00", 1.26, {"billing.InvoiceMail": (8, 0)})
    report("app-4", "06:40:31", 2.26, {"billing.StatementExport": (2, 1)})
    set_clock(NOW)
    return {"running": running, "failed": failed, "succeeded": succeeded}


def import_orders() -> OrderImport:
    """Imports that run: one with progress, one in its second attempt, one that is silent."""
    at("14:01:20")
    again = enqueue(OrderImport(file="orders-acme-retry.csv"))
    after(0.41)
    start(again, "app-2")
    after(8.0)
    retry(again, ERROR, day.READ[:1], 100.0)
    at("14:02:10.120")
    running = enqueue(
        OrderImport(file="orders-2026-11-28.csv", supplier="ACME"), "maria", "month end"
    )
    at("14:02:11.402")
    start(running, "app-2")
    for page in range(1, 63):
        set_clock(at("14:02:14.380") + timedelta(seconds=3.02 * page))
        running.note(f"page {page} of 100", progress=page / 100)
        if page == 45:
            after(0.7)
            running.note("3 rows without a price, set to 0.00", rows=[118, 240, 913])
    at("14:05:11.200")
    start(again, "app-1")
    at("14:05:22.900")
    again.note("row 1,180 of 9,204", progress=0.128)
    renew(again)
    at("14:03:10")
    export = start(enqueue(StatementExport(month="October 2026"), "jonas"), "app-4")
    renew(export)
    at("14:05:21.500")
    payout = start(enqueue(Payout(recipient="Harbour Ltd", amount=1840)), "app-1")
    renew(payout)
    return renew(running)


def hold_payouts() -> None:
    """Two payouts may not be deleted."""
    at("13:30")
    with task_context(actor="jonas", reason="tax audit"):
        for payout in Payout.objects.order_by("pk")[:2]:
            payout.hold("tax audit")


def wait() -> None:
    """Tasks that wait: for a worker, a retry, a time, another task."""
    at("13:58:10")
    enqueue(OrderImport(file="orders-closing-2026.csv", run_after=NOW.replace(month=12)), "maria")
    enqueue(OrderImport(file="orders-later.csv", run_after=NOW.replace(hour=22)), "maria")
    at("14:05:11.300")
    west = start(enqueue(OrderImport(file="orders-west.xml")), "app-2")
    after(10.0)
    retry(west, ERROR, day.READ[:1], 26.0)
    set_clock(NOW - timedelta(seconds=1.9))
    for file in ("orders-south.xml", "orders-east.xml"):
        enqueue(OrderImport(file=file))
    with task_context(actor="maria", reason="month end"):
        InvoiceMail(invoice="2026-1201", to="ap@south.example").save()
