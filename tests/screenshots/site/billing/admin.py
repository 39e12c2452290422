"""The admin of the accounts."""

from django.contrib import admin

from django_simpletask3.admin import SimpleTaskAdmin

from .models import InvoiceMail, Payout, StatementExport


@admin.register(InvoiceMail, Payout, StatementExport)
class BillingAdmin(SimpleTaskAdmin):
    pass
