"""What has happened in both projects until now."""

from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

from django.core.management import call_command

from django_simpletask3 import subscriptions
from django_simpletask3.context import task_context
from django_simpletask3.execution.contexts.inherited import inherit_context
from django_simpletask3.schedules.due import DueSchedules
from django_simpletask3.schedules.sync import definitions_by_database, write_definitions
from tests.screenshots.pages import NOW
from tests.screenshots.scenes.steps import (
    after,
    at,
    come_back_late,
    enqueue,
    fail,
    live,
    recover,
    retry,
    set_clock,
    start,
    succeed,
)
from tests.screenshots.site.billing.models import InvoiceMail, Payout, StatementExport
from tests.screenshots.site.orders.models import OrderImport

DJANGO = "/srv/shop/venv/lib/python3.13/site-packages/django"
PYTHON = "/usr/lib/python3.13"
SEND = [
    ("/srv/shop/billing/tasks.py", 48, "do_task", "self.invoice.deliver(to=self.to, timeout=10)"),
    (f"{DJANGO}/core/mail/message.py", 301, "send", "return connection.send_messages([self])"),
    (f"{DJANGO}/core/mail/backends/smtp.py", 128, "_send", "self.connection.sendmail(sender, to)"),
    ("/srv/shop/billing/mail.py", 112, "deliver", "smtp.send_message(message, to_addrs=[to])"),
    (f"{PYTHON}/smtplib.py", 987, "send_message", "return self.sendmail(from_addr, to_addrs)"),
    (f"{PYTHON}/smtplib.py", 899, "sendmail", "raise SMTPRecipientsRefused(senderrs)"),
]
READ = [
    ("/srv/shop/orders/tasks.py", 31, "do_task", "for row in self.rows():"),
    ("/srv/shop/orders/files.py", 17, "rows", "text = self.content.decode()"),
]
REFUSED = "SMTPRecipientsRefused: {'billing@acme.example': (550, b'5.1.1 mailbox unavailable')}"


class Schedules:
    """The schedules of the project, fired as a node does."""

    def __init__(self) -> None:
        for using, definitions in definitions_by_database().items():
            write_definitions(using, definitions)
        self._due = DueSchedules("default")

    def fire(self) -> list[Any]:
        """Enqueue what is due; the new tasks."""
        self._due.load()
        self._due.fire_due(60.0)
        models = (InvoiceMail, OrderImport, StatementExport)
        return [task for model in models for task in model.objects.pending()]

    def fire_and_run(self) -> None:
        """Enqueue what is due, and let it succeed."""
        for task in self.fire():
            after(0.4)
            start(task, "app-1")
            after(2.0)
            succeed(task)


def export_statements(schedules: Schedules) -> StatementExport:
    """A task of a schedule that succeeds, with many notes, two children and a dependent."""
    at("22:00:00.010", day=27)
    schedules.fire_and_run()
    at("05:59:00")
    schedules.fire_and_run()
    at("06:00:00.008")
    [export] = schedules.fire()
    at("06:01:02.140")
    start(export, "app-1", lease=600)
    at("06:01:02.900")
    payout = enqueue(Payout(recipient="Auditors Ltd", amount=640).after(export), by="jonas")
    with inherit_context(export):
        mails = [
            enqueue(InvoiceMail(invoice=f"2026-{number}", to="auditors@north.example"))
            for number in (1182, 1183)
        ]
    for number in range(1, 41):
        set_clock(at("06:01:04.020") + timedelta(seconds=9.7 * (number - 1)))
        done = number * 5
        export.note(f"statement {done} of 200", progress=done / 200)
    at("06:07:24.311")
    succeed(
        export,
        {
            "month": "2026-11",
            "statements": 200,
            "total": Decimal("1204118.40"),
            "files": ["statements-2026-11.zip", "statements-2026-11.csv"],
            "skipped": [10417, 10418, 11902],
        },
    )
    for task, outcome in ((mails[0], "sent"), (mails[1], "sent"), (payout, "paid")):
        after(1.4)
        start(task, "app-2")
        after(2.1)
        succeed(task, outcome)
    at("09:12:45.900")
    with task_context(actor="jonas"):
        export.note("sent to the auditors")
    return export


def audit() -> None:
    """Compare the streams with the rows, as a job of the night does."""
    call_command("django-simpletask3-audit", stdout=StringIO())


def work_for_an_hour(schedules: Schedules, until: str = "14:04") -> None:
    """What schedules enqueue, and mails and payouts: all have succeeded since 13:05."""
    at("13:10:00.020")
    schedules.fire_and_run()
    end = at(until)
    begin = NOW - timedelta(minutes=60)
    for number in range(200):
        moment = begin + timedelta(seconds=17.7 * number)
        if moment >= end:
            return
        set_clock(moment)
        node, waited = f"app-{1 + number % 2}", 0.3 + number * 7 % 11 / 10
        if number % 5 == 2:
            payout = Payout(recipient=f"supplier {number}", amount=Decimal(number * 13))
            live(payout, node=node, waited=waited, ran=0.5 + number % 7 / 5, result="paid")
        else:
            mail = InvoiceMail(invoice=f"2026-{900 + number}", to=f"c{number}@north.example")
            live(mail, node=node, waited=waited, ran=0.9 + number % 13 / 6, result="sent")


def fail_to_send_an_invoice() -> InvoiceMail:
    """A mail that fails in its third attempt: one had failed, one was lost and came back late."""
    at("13:58:02.114")
    mail = InvoiceMail(invoice="2026-1184", to="billing@acme.example")
    enqueue(mail, by="maria", why="month end")
    at("13:58:02.390")
    start(mail, "app-2")
    at("13:58:12.412")
    retry(mail, "TimeoutError: smtp.acme.example did not answer within 10 s", SEND[:4], 30.0)
    at("13:58:42.611")
    start(mail, "app-3", lease=75.0)
    lost_attempt = InvoiceMail.objects.get(pk=mail.pk)
    at("13:59:58.020")
    with task_context(actor="recovery on app-1"):
        recover(mail)
    at("13:59:58.031")
    start(mail, "app-1")
    at("14:00:06.702")
    come_back_late(mail, lost_attempt)
    at("14:00:09.544")
    fail(mail, REFUSED, SEND, why="no_retry_left")
    at("14:04:30.118")
    with task_context(actor="jonas"):
        mail.note("asked ACME for the right address, ticket 5521")
    return mail


def import_earlier_files() -> None:
    """Imports that have ended by one o'clock, in every way."""
    for day in range(23, 28):
        at("13:2" + str(day - 20), day=28)
        orders = 8870 + (day * 331) % 450
        result = {"orders": orders, "skipped": 3 if day == 26 else 0}
        file = f"orders-2026-11-{day}.csv"
        live(OrderImport(file=file), node="app-2", waited=1.2, ran=270.0 + day, result=result)
    at("13:37:10")
    canceled = enqueue(OrderImport(file="orders-duplicate.csv"), by="maria")
    after(0.9)
    start(canceled, "app-1")
    after(6.4)
    with task_context(actor="maria"):
        canceled.cancel("wrong file, ticket 5521")
    at("13:40:00")
    give_up(OrderImport(file="orders-legacy.xls"))
    at("13:51:02")
    for file, byte in (("2026-11-19", "0xfc"), ("2026-11-20", "0xe4"), ("harbour", "0xe4")):
        broken = enqueue(OrderImport(file=f"orders-{file}.csv"), by="maria")
        after(0.64)
        start(broken, "app-2")
        after(2.1)
        message = f"'utf-8' codec can't decode byte {byte} in position 1042: invalid data"
        fail(broken, f"UnicodeDecodeError: {message}", READ, why="error_not_retried")


def give_up(task: Any) -> None:
    """A task that loses its worker as often as it may."""
    enqueue(task)
    while not task.status.is_final:
        after(1.1)
        start(task, "app-3")
        after(75.0)
        recover(task)


def deliver_all() -> None:
    """What subscribers wait for is delivered."""
    while subscriptions.deliver(limit=1000):
        pass


def lose_an_attempt(task: Any, node: str = "app-3", ran: float = 41.0) -> Any:
    """A task that is lost, and succeeds in another attempt."""
    enqueue(task)
    after(0.6)
    start(task, node, lease=ran)
    after(ran + 1)
    recover(task)
    after(0.2)
    start(task, "app-1")
    after(6.0)
    return succeed(task)
