"""Something whose changes are noted, and a task that changes it."""

from typing import Any

from auditlog.registry import auditlog
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import models

from django_simpletask3.context import current_user
from django_simpletask3.models import SimpleTask


class Account(models.Model):
    """Every change of it is noted."""

    balance = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"account {self.pk}"


auditlog.register(Account)
if apps.is_installed("pghistory"):
    import pghistory

    Account = pghistory.track()(Account)  # type: ignore[misc]


class Booking(SimpleTask):
    """Changes an account, and writes into the admin's log who had it do so."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE)

    def do_task(self) -> Any:
        self.account.balance += 1
        self.account.save()
        user = current_user()
        if user is not None:
            LogEntry.objects.log_actions(user.pk, [self.account], CHANGE, "booked")
        return str(user)
