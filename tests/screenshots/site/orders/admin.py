"""The admin of the orders."""

from django.contrib import admin

from django_simpletask3.admin import SimpleTaskAdmin

from .models import OrderImport


@admin.register(OrderImport)
class OrderImportAdmin(SimpleTaskAdmin):
    pass
