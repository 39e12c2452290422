"""Notifications that wait to be sent."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Notification(models.Model):
    """The outcome of one task; a mail or text sender would read it from here."""

    task_label = models.CharField(_("kind of task"), max_length=100)
    task_pk = models.CharField(_("task"), max_length=64)
    sequence = models.PositiveIntegerField(_("event No."))
    subject = models.CharField(_("subject"), max_length=200)
    body = models.TextField(_("text"))
    add_time = models.DateTimeField(_("written"), auto_now_add=True)

    class Meta:
        verbose_name = _("notification")
        verbose_name_plural = _("notifications")
        ordering = ("-pk",)
        constraints = [
            # One notification per event: a task that is reset and ends again gets another one.
            models.UniqueConstraint(
                fields=("task_label", "task_pk", "sequence"), name="one_notification_per_event"
            )
        ]

    def __str__(self) -> str:
        return self.subject
