"""Register every model of the testapp in the admin."""

from django.contrib import admin

from django_simpletask3.admin import SimpleTaskAdmin
from django_simpletask3.models.registry import task_models
from tests.testapp.models import Invoice


@admin.register(Invoice)
class InvoiceAdmin(SimpleTaskAdmin):
    """Adds columns of the model to those of SimpleTaskAdmin."""

    list_display = (*SimpleTaskAdmin.list_display, "amount")
    list_filter = (*SimpleTaskAdmin.list_filter, "fails")
    search_fields = ("task_biz_field",)


for model in task_models():
    if model is not Invoice and model._meta.app_label == "testapp":
        admin.site.register(model, SimpleTaskAdmin)
