"""The admin of orders and their imports."""

from django.contrib import admin

from django_simpletask3.admin import SimpleTaskAdmin

from .models import Order, OrderImport


@admin.register(OrderImport)
class OrderImportAdmin(SimpleTaskAdmin):
    list_display = (*SimpleTaskAdmin.list_display, "file", "accepted", "rejected")
    readonly_fields = (*SimpleTaskAdmin.readonly_fields, "accepted", "rejected")


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ("number", "ordered_on", "customer", "article", "quantity", "unit_price")
    list_filter = ("customer", "source")
    date_hierarchy = "ordered_on"
    search_fields = ("number", "customer", "article")
