"""Migration operations that write events for rows without any; their names are stable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import connections, models, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor as SchemaEditor
from django.db.migrations.operations.base import OperationCategory
from django.db.migrations.operations.models import ModelOperation
from django.db.migrations.state import ProjectState as State
from django.db.models import Exists, OuterRef

from ..context import task_context
from ..db.tables import has_table
from ..ledger.encoding import decode, encode
from ..ledger.tombstone import Tombstone, open_tombstone
from ..states import Status
from . import inferred_events, legacy_encoding

#: Rows of one transaction.
BATCH_SIZE = 500


class BackfillEvents(ModelOperation):
    """Write, for each row of a task model without events, the events that its status implies.

    The events are marked ``adopted`` and have the times of the row. ``status``, if given, is
    assigned to these rows first; without it, rows that existed before their model became a task
    model are PENDING, and workers run them. Rows with events are skipped, so an interrupted
    migration can be run again. In a migration with ``atomic = False``, each batch of rows is one
    transaction.

    Reversing it deletes the events of rows that have no others, and leaves tombstones for them.
    """

    category = OperationCategory.PYTHON
    reduces_to_sql = False
    # Each batch has its own transaction.
    atomic = False

    def __init__(self, name: str, status: int | None = None) -> None:
        self.status = None if status is None else Status(status)
        super().__init__(name)

    def deconstruct(self) -> tuple[str, list[str], dict[str, Any]]:
        kwargs = {} if self.status is None else {"status": int(self.status)}
        return type(self).__name__, [self.name], kwargs

    def state_forwards(self, app_label: str, state: State) -> None:
        """Keep the model state."""

    def database_forwards(
        self, app_label: str, schema_editor: SchemaEditor, from_state: State, to_state: State
    ) -> None:
        model = to_state.apps.get_model(app_label, self.name)
        using = schema_editor.connection.alias
        if not self.allow_migrate_model(using, model):
            return
        event_model = inferred_events.historical_event_model(model)
        rows_without_events = model._base_manager.using(using).filter(sequence=0)
        # Keys of deleted rows that are used again. Queried once: a query planner without
        # statistics of the new table would scan all of it for each batch.
        earlier_events = event_model._base_manager.using(using).filter(task_id=OuterRef("pk"))
        reused_pks = set(
            rows_without_events.filter(Exists(earlier_events)).values_list("pk", flat=True)
        )

        def write_events(rows: list[Any]) -> None:
            new_rows = [row for row in rows if row.pk not in reused_pks]
            events = [event for row in new_rows for event in self._infer_events(row, using)]
            event_model._base_manager.using(using).bulk_create(events)
            _update_rows(new_rows, using)

        _run_in_batches(rows_without_events, write_events)

    def database_backwards(
        self, app_label: str, schema_editor: SchemaEditor, from_state: State, to_state: State
    ) -> None:
        model = to_state.apps.get_model(app_label, self.name)
        using = schema_editor.connection.alias
        if not self.allow_migrate_model(using, model):
            return
        event_model = inferred_events.historical_event_model(model)

        candidates = model._base_manager.using(using).filter(
            sequence__range=(1, inferred_events.MAX_EVENTS)
        )

        def remove_events(rows: list[models.Model]) -> None:
            self._remove_inferred_events(event_model, rows, using)

        with task_context(actor=inferred_events.ACTOR):
            _run_in_batches(candidates, remove_events)

    def describe(self) -> str:
        return f"Write events for the rows of {self.name} that have none"

    @property
    def migration_name_fragment(self) -> str:
        return f"backfill_events_{self.name_lower}"

    def _remove_inferred_events(
        self, event_model: type[models.Model], rows: list[Any], using: str
    ) -> None:
        """Delete the events of ``rows`` that have only inferred ones, and restore these rows."""
        events_by_task: dict[Any, list[Any]] = {}
        for event in _events_of(event_model, using, rows).order_by("sequence"):
            events_by_task.setdefault(event.task_id, []).append(event)
        untouched_rows = [
            row
            for row in rows
            if inferred_events.has_only_inferred_events(row, events_by_task.get(row.pk, []))
        ]
        if not untouched_rows:
            return
        events = _events_of(event_model, using, untouched_rows)
        _delete_events(events, untouched_rows, f"reversed: {self.describe()}")
        for row in untouched_rows:
            inferred_events.restore_columns(row, events_by_task[row.pk], using)
            self._revert_row(row)
        _update_rows(untouched_rows, using)

    def _convert_row(self, row: Any) -> None:
        """Convert the columns of ``row`` to the format of this version."""
        if self.status is not None:
            row.status = self.status

    def _revert_row(self, row: Any) -> None:
        """Undo ``_convert_row``."""

    def _infer_events(self, row: Any, using: str) -> list[Any]:
        self._convert_row(row)
        try:
            return inferred_events.infer_events(row, using)
        except ValueError:
            raise CommandError(
                f"{row._meta.label} {row.pk} has the unknown status {row.status}. Set it to one of "
                f"{', '.join(f'{s.value} ({s.name})' for s in Status)}."
            ) from None


class UpgradeFrom01(BackfillEvents):
    """Backfill events for rows of django-simpletask3 0.1.x, and decrypt their results and errors.

    The keys are SECRET_KEY and SECRET_KEY_FALLBACKS. If none decrypts a text, raises CommandError
    and rolls the batch back; with ``keep_unreadable`` the text is kept as it is. Reversing it
    encrypts with SECRET_KEY. Needs ``pip install 'django-simpletask3[upgrade]'``.
    """

    def __init__(self, name: str, keep_unreadable: bool = False) -> None:
        self.keep_unreadable = keep_unreadable
        super().__init__(name)

    def deconstruct(self) -> tuple[str, list[str], dict[str, Any]]:
        kwargs = {"keep_unreadable": True} if self.keep_unreadable else {}
        return type(self).__name__, [self.name], kwargs

    def describe(self) -> str:
        return f"Upgrade the rows of {self.name} from 0.1"

    @property
    def migration_name_fragment(self) -> str:
        return f"upgrade_{self.name_lower}_from_0_1"

    def _convert_row(self, row: Any) -> None:
        if row.result_data is not None:
            row.result_data = encode(self._decode_column(row, "result_data"))
        if row.error_data is not None:
            error = self._decode_column(row, "error_data")
            details = error if isinstance(error, dict) else {"message": str(error)}
            error_fields = {"type": "BizError", "message": "", **details}
            row.error_data = encode(error_fields)

    def _decode_column(self, row: Any, name: str) -> Any:
        text = getattr(row, name)
        try:
            return legacy_encoding.decode(
                text, [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
            )
        except legacy_encoding.Unreadable:
            if self.keep_unreadable:
                return text
            raise CommandError(
                f"{name} of {row._meta.label} {row.pk} cannot be decrypted with SECRET_KEY. If "
                "that was changed, add the old key to SECRET_KEY_FALLBACKS. To keep such texts, "
                f"use UpgradeFrom01({self.name!r}, keep_unreadable=True)."
            ) from None

    def _revert_row(self, row: Any) -> None:
        if row.result_data is not None:
            row.result_data = legacy_encoding.encode(decode(row.result_data), settings.SECRET_KEY)
        if row.error_data is not None:
            error = decode(row.error_data)
            error = {name: error[name] for name in ("code", "message") if name in error}
            row.error_data = legacy_encoding.encode(error, settings.SECRET_KEY)


def _events_of(event_model: Any, using: str, rows: Iterable[Any]) -> Any:
    return event_model._base_manager.using(using).filter(task_id__in=[row.pk for row in rows])


def _delete_events(events: Any, rows: Sequence[Any], reason: str) -> None:
    """Delete the ``events`` of ``rows``; leave a tombstone if the tombstone table exists."""
    using, model = events.db, rows[0]._meta.label
    if not has_table(Tombstone, using):
        events._raw_delete(using)
        return
    # The open tombstone lets a table delete that migrations of another app made append-only.
    with open_tombstone(using, model, "stream", reason) as tombstone:
        deleted_count = events._raw_delete(using)
        tombstone.summarize({row.pk: row.digest for row in rows}, events=deleted_count)


def _run_in_batches(rows: models.QuerySet[Any], action: Callable[[list[Any]], None]) -> None:
    """Call ``action`` with ``rows`` in key order; each batch is locked in its own transaction."""
    if connections[rows.db].features.has_select_for_update:
        rows = rows.select_for_update()
    key_filter: dict[str, Any] = {}
    while True:
        with transaction.atomic(using=rows.db):
            batch = list(rows.filter(**key_filter).order_by("pk")[:BATCH_SIZE])
            if not batch:
                return
            action(batch)
        key_filter = {"pk__gt": batch[-1].pk}


def _update_rows(rows: Iterable[Any], using: str) -> None:
    """Update the changed columns of ``rows``, in one round trip where the driver can."""
    connection = connections[using]
    quote = connection.ops.quote_name
    rows = list(rows)
    if not rows:
        return
    meta = rows[0]._meta
    fields = [meta.get_field(name) for name in inferred_events.UPDATED_COLUMNS]
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
