"""A task that is of use only until some time: it is canceled if it has not started then."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..task import SimpleTask


class ExpiringTask(SimpleTask):
    """A task that expires: a worker starts it before ``expires_at``, or it is canceled.

    Subclass it in the place of SimpleTask, and set ``django_simpletask3_expires``, or call
    ``objects.enqueue(expires=...)``; both count from then on. A task function that has begun goes
    on. A ``reset()`` lets the task run at any time, unless it is given ``expires``.
    """

    _has_expiry: ClassVar[bool] = True

    # Written by enqueue and reset, whose events hold it, too.
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True, editable=False)

    class Meta:
        abstract = True
