"""A task of which there is only one for each key."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models, router
from django.utils.translation import gettext_lazy as _

from ...exceptions import InvalidKey
from ...transitions.unique_keys import compute, holders
from ..task import SimpleTask


class UniqueTask(SimpleTask):
    """A task that is refused, or joins or replaces another one, while that one has the same key.

    Subclass it in the place of SimpleTask, and set ``django_simpletask3_unique``. The key is
    computed when the task is enqueued or reset, and freed as ``Unique.until`` says.
    """

    _has_unique_key: ClassVar[bool] = True

    #: Whether ``enqueue()`` or ``bulk_enqueue()`` returned this task, which existed already, in the
    #: place of a new one.
    was_joined: bool = False

    # Written by enqueue and reset, whose events hold it, too, and by what frees it.
    unique_key = models.UUIDField(_("unique key"), null=True, unique=True, editable=False)

    class Meta:
        abstract = True

    def validate_unique(self, exclude: Collection[str] | None = None) -> None:
        """As Django's; a new task is also invalid while another one has its key."""
        super().validate_unique(exclude)
        names = compute.key_fields(type(self))
        if not self._state.adding or not set(exclude or ()).isdisjoint(names):
            return
        using = self._state.db or router.db_for_write(type(self), instance=self)
        try:
            key = compute.key_of_new(self)
        except InvalidKey as error:
            raise ValidationError(str(error)) from error
        if key is not None and holders.find(type(self), using, [key]):
            field = names[0] if len(names) == 1 else NON_FIELD_ERRORS
            raise ValidationError({field: _("There is a task with this key already.")})
