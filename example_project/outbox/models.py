"""A message to somebody, waiting to be sent."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Notification(models.Model):
    """How one task ended. Whoever sends mails or texts takes them from here."""

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
            # One event is told once; a task that is reset and ends again is told again.
            models.UniqueConstraint(
                fields=("task_label", "task_pk", "sequence"), name="one_notification_per_event"
            )
        ]

    def __str__(self) -> str:
        return self.subject
