"""The record of each audit: when it ran, what it read, and what it found."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..ledger.fields import MAX_TEXT, JSONTextField


class AuditRun(models.Model):
    """One run of ``manage.py django-simpletask3-audit``; written when it begins and when it ends.

    ``tables`` has a mapping for each table that it has finished, with ``model``, ``database``,
    ``tasks``, ``events``, ``findings`` and ``repaired``; ``found`` has the first findings.
    """

    id = models.BigAutoField(primary_key=True)
    begin_time = models.DateTimeField(_("time"))
    #: None while it runs, and for ever if it was ended before its end.
    end_time = models.DateTimeField(_("end"), null=True)
    #: Only tasks with an event since then were read; None for all.
    since = models.DateTimeField(_("since"), null=True)
    actor = models.CharField(_("actor"), max_length=MAX_TEXT, blank=True)
    host = models.CharField(_("host"), max_length=MAX_TEXT, blank=True)
    tasks = models.BigIntegerField(_("tasks"), default=0)
    events = models.BigIntegerField(_("events"), default=0)
    findings = models.BigIntegerField(_("findings"), default=0)
    repaired = models.BigIntegerField(_("repaired"), default=0)
    tables = JSONTextField(_("tables"), null=True)
    found = JSONTextField(_("found"), null=True)

    class Meta:
        app_label = "django_simpletask3"
        default_permissions = ()
        # To find the newest one that has read everything.
        indexes = (models.Index(fields=["since", "id"], name="simpletask3_audit_since"),)
        verbose_name = _("audit")
        verbose_name_plural = _("audits")

    def __str__(self) -> str:
        return f"{self.begin_time:%Y-%m-%d %H:%M:%S}"


class Ledger(AuditRun):
    """The admin's page of what is recorded of all tasks, and whether it is whole."""

    class Meta:
        app_label = "django_simpletask3"
        proxy = True
        default_permissions = ()
        verbose_name = _("ledger")
        verbose_name_plural = _("ledger")
