"""Tasks of the orders."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_simpletask3.models import SimpleTask
from django_simpletask3.schedules import schedule


@schedule("0 22 * * *", name="nightly", fields={"file": "orders-night.csv"}, overlap="skip")
class OrderImport(SimpleTask):
    django_simpletask3_max_retries = 3
    django_simpletask3_max_attempts = 3

    file = models.CharField(_("file"), max_length=100)
    supplier = models.CharField(_("supplier"), max_length=100, blank=True)
    skips_rows_without_price = models.BooleanField(_("skip rows without a price"), default=False)

    class Meta:
        verbose_name = _("import of orders")
        verbose_name_plural = _("imports of orders")

    def __str__(self) -> str:
        return self.file
