"""Tombstones: the record of what was pruned or erased, when, why and by whom."""

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
from ..conf.time_source import machine_now
from .digests import digest_of
from .fields import MAX_TEXT, JSONTextField

_being_pruned: ContextVar[tuple[str, frozenset[Any]]] = ContextVar(
    "django_simpletask3_being_pruned", default=("", frozenset())
)


class Tombstone(models.Model):
    """One batch of tasks, streams or payloads that were deleted on purpose, in this database.

    While a tombstone is open, and only for the transaction that inserted it, the triggers of
    append-only tables let events be deleted. It is closed in that same transaction, so no other
    transaction ever sees an open one. ``digest`` covers what was deleted.
    """

    id = models.BigAutoField(primary_key=True)
    time = models.DateTimeField(_("time"), default=timezone.now, db_index=True)
    model = models.CharField(_("task model"), max_length=MAX_TEXT)
    scope = models.CharField(_("scope"), max_length=32)
    reason = models.CharField(_("reason"), max_length=MAX_TEXT, blank=True)
    actor = models.CharField(_("actor"), max_length=MAX_TEXT, blank=True)
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
        # To find what was removed last of each model.
        indexes = (models.Index(fields=["model", "time"], name="simpletask3_tombstone_model"),)
        verbose_name = _("tombstone")
        verbose_name_plural = _("tombstones")

    def __str__(self) -> str:
        return f"{self.model} {self.scope} {self.time:%Y-%m-%d %H:%M:%S}"

    def summarize(self, digests: Mapping[Any, str], *, events: int, **extra: Any) -> None:
        """Record what is deleted: the last digest of each task, and the number of events."""
        lines = [
            f"{pk} {digest}"
            for pk, digest in sorted(digests.items(), key=lambda item: str(item[0]))
        ]
        self.tasks, self.events = len(digests), events
        self.digest = digest_of("\n".join(lines))
        data: Any = self.data
        self.data = {**(data or {}), "keys": [str(pk) for pk in digests], **extra}


@contextmanager
def open_tombstone(
    using: str, model: str, scope: str, reason: str, policy: str = ""
) -> Iterator[Tombstone]:
    """Open a tombstone in the current transaction: within the block, events may be deleted.

    The block calls ``summarize``; the tombstone is closed when the block ends.
    """
    data: Any = {"policy": policy} if policy else {}
    tombstone = Tombstone(
        time=machine_now(),
        model=model,
        scope=scope,
        reason=reason[:MAX_TEXT],
        actor=context.current().actor[:MAX_TEXT],
        data=data,
    )
    tombstone.save(using=using, force_insert=True)
    yield tombstone
    tombstone.is_open = False
    tombstone.save(using=using, force_update=True)


@contextmanager
def deleting_with_streams(table: str, pks: Iterable[object]) -> Iterator[None]:
    """Within the block, the rows ``pks`` of ``table`` are deleted with their streams."""
    token = _being_pruned.set((table, frozenset(pks)))
    try:
        yield
    finally:
        _being_pruned.reset(token)


def is_being_pruned(table: str, pk: object) -> bool:
    """Whether the row is deleted with its stream, so that no event can record it."""
    pruned_table, pruned_pks = _being_pruned.get()
    return pruned_table == table and pk in pruned_pks


class PruneTarget(StrEnum):
    """What a rule of retention deletes; the values are stored."""

    TASK = "task"  # the row and its stream
    PAYLOAD = "payload"  # results and errors; row and stream stay
    STREAM = "stream"  # what is left of a deleted task
