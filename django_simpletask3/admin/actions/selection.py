"""The tasks selected in a list: their keys, the tasks in batches, and the keys as posted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.core import signing
from django.core.exceptions import BadRequest
from django.db import models
from django.http import HttpRequest

from ...batches import batches
from ...db.loading import load_tasks
from ...ledger.task_row import table_model
from ...models.task import SimpleTask

#: How many tasks one transaction changes.
BATCH_SIZE = 100

#: Posted by the confirmation page after "select all": the keys of the tasks that it has counted.
KEYS_NAME = "django_simpletask3_keys"


@dataclass(frozen=True, slots=True)
class Selection:
    """Distinct keys of one table, in the order of the list."""

    root: type[SimpleTask]
    using: str
    pks: list[Any]

    @classmethod
    def of(cls, queryset: models.QuerySet[SimpleTask]) -> Selection:
        """The selection of ``queryset``; joins that repeat a row do not matter."""
        # The database that Django would write to: the alias of the queryset, or the router's.
        using = queryset.select_for_update().db
        pks = queryset.using(using).values_list("pk", flat=True)
        return cls(table_model(queryset.model), using, list(dict.fromkeys(pks)))

    def batches(self, limit: int | None = None) -> Iterator[tuple[list[Any], int]]:
        """Yield the tasks of the first ``limit`` keys in batches, each with how many are gone."""
        for batch in batches(self.pks[:limit], BATCH_SIZE):
            # Loaded as the models they were saved as: a proxy's messages go to its own channel.
            tasks = load_tasks(self.root, self.using, batch)
            yield tasks, len(batch) - len(tasks)


def pack_keys(keys: Iterable[Any]) -> str:
    """``keys`` as the value of one field: a form may have no more than a thousand fields."""
    return signing.dumps([str(key) for key in keys], salt=KEYS_NAME, compress=True)


def posted_keys(request: HttpRequest) -> list[str] | None:
    """The keys that ``pack_keys`` has written into the form; None if it has none.

    Raises BadRequest if they were changed.
    """
    if KEYS_NAME not in request.POST:
        return None
    try:
        keys: list[str] = signing.loads(request.POST[KEYS_NAME], salt=KEYS_NAME)
    except signing.BadSignature as error:
        raise BadRequest("The selected keys are not those of the confirmation page.") from error
    return keys
