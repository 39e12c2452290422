"""What migrations may say about rows older than their events; the names stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import connections, models, transaction
from django.db.migrations.operations.base import OperationCategory
from django.db.migrations.operations.models import ModelOperation
from django.db.models import Exists, OuterRef

from ..context import task_context
from ..ledger.encoding import decode, encode
from ..ledger.tombstone import Tombstone, raised
from ..states import Status
from . import inferred_events, legacy_encoding

_ROWS_AT_ONCE = 500


class BeginStreams(ModelOperation):
    """Give each row of a task model that has no events the ones that its status implies.

    The events say ``adopted`` and carry the times of the row. With ``status`` all these rows get
    that status first: without one, rows that were there before their model became a task are
    PENDING, and will be run. Rows with events are left alone, so it can be run again after it was
    interrupted. In a migration with ``atomic = False``, each batch of rows is one transaction.

    Going back takes away the events of rows to which nothing else has happened, and leaves
    tombstones that say so.
    """

    category = OperationCategory.PYTHON
    reduces_to_sql = False
    # Each batch has a transaction of its own.
    atomic = False

    def __init__(self, name: str, status: int | None = None) -> None:
        self.status = None if status is None else Status(status)
        super().__init__(name)

    def deconstruct(self) -> Any:
        told = {} if self.status is None else {"status": int(self.status)}
        return type(self).__name__, [self.name], told

    def state_forwards(self, app_label: str, state: Any) -> None:
        """The models stay as they are."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        model = to_state.apps.get_model(app_label, self.name)
        using = schema_editor.connection.alias
        if not self.allow_migrate_model(using, model):
            return
        streams = inferred_events.streams_of(model)
        unborn = model._base_manager.using(using).filter(sequence=0)
        # Keys that had rows before, which were deleted. Asked once: a planner that does not know
        # the new table yet would read all of it for each batch.
        had_rows = streams._base_manager.using(using).filter(task_id=OuterRef("pk"))
        known = set(unborn.filter(Exists(had_rows)).values_list("pk", flat=True))

        def begin(rows: list[Any]) -> None:
            born = [row for row in rows if row.pk not in known]
            events = [event for row in born for event in self._begun(row, using)]
            streams._base_manager.using(using).bulk_create(events)
            _write(born, using)

        _in_batches(unborn, begin)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        model = to_state.apps.get_model(app_label, self.name)
        using = schema_editor.connection.alias
        if not self.allow_migrate_model(using, model):
            return
        streams = inferred_events.streams_of(model)

        def forget(rows: list[Any]) -> None:
            told: dict[Any, list[Any]] = {}
            for event in _of(streams, using, rows).order_by("sequence"):
                told.setdefault(event.task_id, []).append(event)
            unmoved = [row for row in rows if inferred_events.is_unmoved(row, told.get(row.pk, []))]
            if not unmoved:
                return
            _take_away(_of(streams, using, unmoved), unmoved, f"back: {self.describe()}")
            for row in unmoved:
                inferred_events.forget(row, told[row.pk], using)
                self._unread(row)
            _write(unmoved, using)

        begun = model._base_manager.using(using).filter(sequence__range=(1, inferred_events.MOST))
        with task_context(actor=inferred_events.ACTOR):
            _in_batches(begun, forget)

    def describe(self) -> str:
        return f"Begin the streams of the rows of {self.name} that have no events"

    @property
    def migration_name_fragment(self) -> str:
        return f"begin_streams_{self.name_lower}"

    def _read(self, row: Any) -> None:
        """Let the columns of ``row`` hold what this version understands."""
        if self.status is not None:
            row.status = self.status

    def _unread(self, row: Any) -> None:
        """Let the columns of ``row`` hold what they held before ``_read``."""

    def _begun(self, row: Any, using: str) -> list[Any]:
        self._read(row)
        try:
            return inferred_events.begun(row, using)
        except ValueError:
            raise CommandError(
                f"{row._meta.label} {row.pk} has the status {row.status}, which no task has. Let "
                f"it be one of {', '.join(f'{s.value} ({s.name})' for s in Status)}."
            ) from None


class UpgradeFrom01(BeginStreams):
    """BeginStreams for the rows of django-simpletask3 0.1.x: reads their encrypted results, too.

    The keys are SECRET_KEY and SECRET_KEY_FALLBACKS. Raises CommandError, and changes nothing of
    that batch, if none of them opens a result, unless ``keep_unreadable``: then its text stays.
    Going back encrypts with SECRET_KEY. Needs ``pip install 'django-simpletask3[upgrade]'``.
    """

    def __init__(self, name: str, keep_unreadable: bool = False) -> None:
        self.keep_unreadable = keep_unreadable
        super().__init__(name)

    def deconstruct(self) -> Any:
        told = {"keep_unreadable": True} if self.keep_unreadable else {}
        return type(self).__name__, [self.name], told

    def describe(self) -> str:
        return f"Bring the rows of {self.name} along from 0.1"

    @property
    def migration_name_fragment(self) -> str:
        return f"upgrade_{self.name_lower}_from_0_1"

    def _read(self, row: Any) -> None:
        if row.result_data is not None:
            row.result_data = encode(self._value(row, "result_data"))
        if row.error_data is not None:
            error = self._value(row, "error_data")
            told = error if isinstance(error, dict) else {"message": str(error)}
            named = {"type": "BizError", "message": "", **told}
            row.error_data = encode(named)

    def _value(self, row: Any, name: str) -> Any:
        text = getattr(row, name)
        try:
            return legacy_encoding.decode(
                text, [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
            )
        except legacy_encoding.Unreadable:
            if self.keep_unreadable:
                return text
            raise CommandError(
                f"{name} of {row._meta.label} {row.pk} cannot be read with SECRET_KEY. If that was "
                "changed, name the old one in SECRET_KEY_FALLBACKS. To keep such texts as they "
                f"are: UpgradeFrom01({self.name!r}, keep_unreadable=True)."
            ) from None

    def _unread(self, row: Any) -> None:
        if row.result_data is not None:
            row.result_data = legacy_encoding.encode(decode(row.result_data), settings.SECRET_KEY)
        if row.error_data is not None:
            error = decode(row.error_data)
            error = {name: error[name] for name in ("code", "message") if name in error}
            row.error_data = legacy_encoding.encode(error, settings.SECRET_KEY)


def _of(streams: Any, using: str, rows: Iterable[Any]) -> Any:
    return streams._base_manager.using(using).filter(task_id__in=[row.pk for row in rows])


def _take_away(events: Any, rows: Sequence[Any], reason: str) -> None:
    """Delete the ``events`` of ``rows`` and leave a tombstone, if there is a place for it."""
    using, model = events.db, rows[0]._meta.label
    if Tombstone._meta.db_table not in connections[using].introspection.table_names():
        events._raw_delete(using)
        return
    # It opens the door of a table that is append-only by another app's migrations.
    with raised(using, model, "stream", reason) as tombstone:
        gone = events._raw_delete(using)
        tombstone.inscribe({row.pk: row.digest for row in rows}, events=gone)


def _in_batches(rows: models.QuerySet[Any], do: Callable[[list[Any]], None]) -> None:
    """Call ``do`` with the ``rows``, by key; each batch is locked, in a transaction of its own."""
    if connections[rows.db].features.has_select_for_update:
        rows = rows.select_for_update()
    last: dict[str, Any] = {}
    while True:
        with transaction.atomic(using=rows.db):
            batch = list(rows.filter(**last).order_by("pk")[:_ROWS_AT_ONCE])
            if not batch:
                return
            do(batch)
        last = {"pk__gt": batch[-1].pk}


def _write(rows: Iterable[Any], using: str) -> None:
    """Update the columns of ``rows`` in one round trip, where the driver can."""
    connection = connections[using]
    quote = connection.ops.quote_name
    rows = list(rows)
    if not rows:
        return
    meta = rows[0]._meta
    fields = [meta.get_field(name) for name in inferred_events.WRITTEN]
    columns = ", ".join(f"{quote(field.column)} = %s" for field in fields)
    statement = f"UPDATE {quote(meta.db_table)} SET {columns} WHERE {quote(meta.pk.column)} = %s"
    values = [
        [
            *(field.get_db_prep_save(getattr(row, field.name), connection) for field in fields),
            meta.pk.get_db_prep_save(row.pk, connection),
        ]
        for row in rows
    ]
    with connection.cursor() as cursor:
        cursor.executemany(statement, values)
