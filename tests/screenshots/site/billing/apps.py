"""The app ``billing``."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class BillingConfig(AppConfig):
    name = "tests.screenshots.site.billing"
    verbose_name = _("Billing")

    def ready(self) -> None:
        from . import subscribers  # noqa: F401
