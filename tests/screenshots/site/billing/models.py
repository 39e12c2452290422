"""Tasks of the accounts."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_simpletask3.models import SimpleTask
from django_simpletask3.schedules import schedule


@schedule("10 * * * *", name="hourly", fields={"invoice": "2026-1190", "to": "ap@north.example"})
class InvoiceMail(SimpleTask):
    django_simpletask3_max_retries = 1
    django_simpletask3_max_attempts = 3

    invoice = models.CharField(_("invoice"), max_length=20)
    to = models.CharField(_("to"), max_length=100)

    class Meta:
        verbose_name = _("invoice mail")
        verbose_name_plural = _("invoice mails")

    def __str__(self) -> str:
        return f"Invoice {self.invoice} to {self.to}"


class Payout(SimpleTask):
    recipient = models.CharField(_("recipient"), max_length=100)
    amount = models.DecimalField(_("amount"), max_digits=10, decimal_places=2, default=0)

    class Meta:
        verbose_name = _("payout")
        verbose_name_plural = _("payouts")

    def __str__(self) -> str:
        return f"Payout {self.pk}"


@schedule("0 6 28 * *", name="monthly", fields={"month": "2026-11"})
class StatementExport(SimpleTask):
    django_simpletask3_can_be_awaited = True

    month = models.CharField(_("month"), max_length=20)
    format = models.CharField(_("format"), max_length=10, default="PDF")

    class Meta:
        verbose_name = _("statement export")
        verbose_name_plural = _("statement exports")

    def __str__(self) -> str:
        return f"Statements of {self.month}"
