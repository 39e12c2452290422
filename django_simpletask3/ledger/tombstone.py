"""What is left of tasks that were pruned: that they were there, when and why they went."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import Any

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .. import context
from .digests import digest_of
from .fields import JSONTextField

_MAX_LENGTH = 255
_being_pruned: ContextVar[tuple[str, frozenset[Any]]] = ContextVar(
    "django_simpletask3_graves", default=("", frozenset())
)


class Tombstone(models.Model):
    """One batch of tasks, streams or payloads that were deleted on purpose, in this database.

    While a tombstone is open, and only for the transaction that put it up, the triggers of
    append-only tables let events be deleted. It is closed in that same transaction, so nobody else
    ever sees an open one. ``digest`` is over what is gone.
    """

    id = models.BigAutoField(primary_key=True)
    time = models.DateTimeField(_("time"), default=timezone.now, db_index=True)
    model = models.CharField(_("task model"), max_length=255)
    scope = models.CharField(_("scope"), max_length=32)
    reason = models.CharField(_("reason"), max_length=255, blank=True)
    actor = models.CharField(_("actor"), max_length=255, blank=True)
    tasks = models.PositiveIntegerField(_("tasks"), default=0)
    events = models.PositiveIntegerField(_("events"), default=0)
    first_time = models.DateTimeField(_("first"), null=True)
    last_time = models.DateTimeField(_("last"), null=True)
    digest = models.CharField(_("digest"), max_length=64, blank=True)
    data = JSONTextField(_("data"), null=True)
    is_open = models.BooleanField(default=True, db_index=True)

    class Meta:
        app_label = "django_simpletask3"
        default_permissions = ("view",)
        verbose_name = _("tombstone")
        verbose_name_plural = _("tombstones")

    def __str__(self) -> str:
        return f"{self.model} {self.scope} {self.time:%Y-%m-%d %H:%M:%S}"

    def summarize(self, digests: Mapping[Any, str], *, events: int, **extra: Any) -> None:
        """Note what is gone: the digest that each task's last event had, and how many events."""
        lines = [f"{pk} {digest}" for pk, digest in sorted(digests.items(), key=_by_text)]
        self.tasks, self.events = len(digests), events
        self.digest = digest_of("\n".join(lines))
        data: Any = self.data
        self.data = {**(data or {}), "keys": [str(pk) for pk in digests], **extra}


@contextmanager
def open_tombstone(
    using: str, model: str, scope: str, reason: str, policy: str = ""
) -> Iterator[Tombstone]:
    """A tombstone in the transaction that is open: within the block, events may be deleted.

    The block inscribes it; it is closed when the block ends. Whoever acts is the actor.
    """
    data: Any = {"policy": policy} if policy else {}
    tombstone = Tombstone(
        model=model,
        scope=scope,
        reason=reason[:_MAX_LENGTH],
        actor=context.current().actor[:_MAX_LENGTH],
        data=data,
    )
    tombstone.save(using=using, force_insert=True)
    yield tombstone
    tombstone.is_open = False
    tombstone.save(using=using, force_update=True)


@contextmanager
def deleting_with_streams(table: str, pks: Iterable[Any]) -> Iterator[None]:
    """Within the block, the rows ``pks`` of ``table`` are deleted with their streams."""
    token = _being_pruned.set((table, frozenset(pks)))
    try:
        yield
    finally:
        _being_pruned.reset(token)


def is_being_pruned(table: str, pk: Any) -> bool:
    """Whether that row goes with its stream, so that no event can tell of it."""
    pruned_table, pruned_pks = _being_pruned.get()
    return pruned_table == table and pk in pruned_pks


def _by_text(item: tuple[Any, str]) -> str:
    return str(item[0])


class PruneTarget(StrEnum):
    """What goes when its time has come; the words are stored."""

    TASK = "task"  # the row and its stream
    PAYLOAD = "payload"  # results and errors; row and stream stay
    STREAM = "stream"  # what is left of a deleted task
