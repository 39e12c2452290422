"""Orders, and the task that imports a file of them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import PurePath
from typing import Any

from django.db import models, transaction
from django.utils.translation import gettext_lazy as _

from django_simpletask3.models import SimpleTask

from . import csv_files


class NothingToImport(ValueError):
    """The file has no valid order."""


class OrderImport(SimpleTask):
    """Imports a CSV file of orders; reports bad lines, and fails if no line is valid."""

    django_simpletask3_worker_number = 2

    file = models.FileField(_("file"), upload_to="orders")
    accepted = models.PositiveIntegerField(_("orders"), null=True, editable=False)
    rejected = models.PositiveIntegerField(_("bad lines"), null=True, editable=False)

    class Meta:
        verbose_name = _("import of orders")
        verbose_name_plural = _("imports of orders")

    def __str__(self) -> str:
        return PurePath(self.file.name).name

    def do_task(self) -> dict[str, Any]:
        """Import the orders; return the total of each customer and the bad lines.

        Raises NothingToImport if no line is valid, WrongColumns if the headings are wrong.
        """
        with self.file.open("rb") as file:
            content = csv_files.read(file)
        self.accepted, self.rejected = len(content.orders), len(content.bad_lines)
        if not content.orders:
            raise NothingToImport(
                f"{self} has no valid order. {_describe_bad_lines(content.bad_lines)}"
            )
        self._replace_orders(content.orders)
        return {
            "orders": self.accepted,
            "totals": _totals(content.orders),
            "bad_lines": [line.as_dict for line in content.bad_lines],
        }

    def _replace_orders(self, orders: list[dict[str, Any]]) -> None:
        # If the worker is lost here, the task runs again: all orders are stored, or none.
        with transaction.atomic():
            self.orders.all().delete()
            Order.objects.bulk_create(Order(source=self, **columns) for columns in orders)


class Order(models.Model):
    """One line of one file."""

    source = models.ForeignKey(
        OrderImport, on_delete=models.CASCADE, related_name="orders", verbose_name=_("file")
    )
    number = models.CharField(_("number"), max_length=20)
    ordered_on = models.DateField(_("date"))
    customer = models.CharField(_("customer"), max_length=100, db_index=True)
    article = models.CharField(_("article"), max_length=100)
    quantity = models.PositiveIntegerField(_("quantity"))
    unit_price = models.DecimalField(_("unit price"), max_digits=10, decimal_places=2)

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")
        ordering = ("number",)
        constraints = [
            models.UniqueConstraint(fields=("source", "number"), name="number_once_per_file")
        ]

    def __str__(self) -> str:
        return self.number

    @property
    def amount(self) -> Decimal:
        return self.quantity * self.unit_price


def _totals(orders: list[dict[str, Any]]) -> dict[str, Decimal]:
    """The total amount of each customer, the largest first."""
    totals: dict[str, Decimal] = {}
    for order in orders:
        amount = order["quantity"] * order["unit_price"]
        totals[order["customer"]] = totals.get(order["customer"], Decimal(0)) + amount
    return dict(sorted(totals.items(), key=lambda item: (-item[1], item[0])))


def _describe_bad_lines(bad_lines: list[csv_files.BadLine], limit: int = 5) -> str:
    more = f"; and {len(bad_lines) - limit} more" if len(bad_lines) > limit else ""
    return "; ".join(str(line) for line in bad_lines[:limit]) + more
