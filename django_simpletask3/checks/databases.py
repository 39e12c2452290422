"""What only a database can answer: its triggers, its door, its deliveries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.core.checks import WARNING, CheckMessage, Error, Tags, register
from django.db import connections, models
from django.db.migrations.loader import MigrationLoader

from ..ledger.outbox import Delivery, all_deliveries
from ..ledger.subscribers import registered_subscribers
from ..models.registry import databases_of, table_models
from ..models.task import SimpleTask
from ..schema import protection_state, triggers
from ..schema.missing_migrations import migration_history

TRIGGERS_ID = "django_simpletask3.W201"
OPEN_TOMBSTONE_ID = "django_simpletask3.E201"
DELIVERIES_ID = "django_simpletask3.W202"
SUBSCRIBER_ID = "django_simpletask3.W203"
OLDER_ROWS_ID = "django_simpletask3.W204"


@register(Tags.database)
def check_protection(databases: Iterable[str] | None = None, **_: Any) -> list[CheckMessage]:
    """What migrations promised to protect is protected, and the door is shut."""
    return [message for using in databases or () for message in _protection(using)]


def _protection(using: str) -> Iterator[CheckMessage]:
    for table in protection_state.protected_tables(using):
        if not triggers.has_expected_triggers(connections[using], table):
            # No error: migrate, which mends it, would not start.
            yield CheckMessage(
                WARNING,
                f"The events in {table.name} (database {using!r}) can be changed and deleted: the "
                "triggers that a migration promised are missing, altered or switched off.",
                hint=f"Find out who did it. manage.py migrate --database {using} mends them.",
                id=TRIGGERS_ID,
            )
    if protection_state.has_open_tombstone(using):
        yield Error(
            f"Everybody may change and delete events in the database {using!r}: a tombstone was "
            "committed while it was open.",
            hint="Set is_open to false in the open rows of django_simpletask3_tombstone.",
            id=OPEN_TOMBSTONE_ID,
        )


@register(Tags.database)
def check_deliveries(databases: Iterable[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Events can be noted for durable subscribers, and somebody subscribes to what was noted."""
    return [message for using in databases or () for message in _deliveries(using)]


def _deliveries(using: str) -> Iterator[CheckMessage]:
    has_delivery_table = Delivery._meta.db_table in connections[using].introspection.table_names()
    if has_delivery_table:
        names = set(all_deliveries(using).values_list("subscription", flat=True).distinct())
        for name in sorted(names - registered_subscribers().keys()):
            yield CheckMessage(
                WARNING,
                f"Deliveries wait in the database {using!r} for {name!r}, to which nobody "
                "subscribes.",
                hint="Import the module of the subscriber in ready(), or delete them in the admin.",
                id=SUBSCRIBER_ID,
            )
        return
    for root in table_models():
        subscription_names = [
            subscriber.name
            for subscriber in registered_subscribers().values()
            if issubclass(root, subscriber.models)
        ]
        if subscription_names and using in databases_of(root):
            # No error: migrate, which makes the table, would not start.
            yield CheckMessage(
                WARNING,
                f"Events of {root._meta.label} in the database {using!r} cannot be noted for "
                f"{', '.join(subscription_names)}: the table of deliveries is missing, "
                "and saving fails.",
                hint=f"Let the routers allow django_simpletask3 there, and migrate --database "
                f"{using}.",
                obj=root,
                id=DELIVERIES_ID,
            )


@register(Tags.database)
def check_older_rows(databases: Iterable[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Rows that are older than their events have been given some."""
    return list(_older_rows(databases)) if databases else []


def _older_rows(databases: Iterable[str]) -> Iterator[CheckMessage]:
    loader = MigrationLoader(None)
    for root in table_models():
        history = migration_history(root._meta.app_label, loader)
        if root._meta.model_name not in history.backfills:
            continue
        for using in databases_of(root):
            if using in databases and _has_rows_without_events(root, using):
                yield CheckMessage(
                    WARNING,
                    f"Rows of {root._meta.label} in the database {using!r} are older than their "
                    "events: those that are PENDING would be run, the others have no history.",
                    hint=f"manage.py django-simpletask3-migrations {root._meta.app_label} writes "
                    "what they lack; then migrate.",
                    obj=root,
                    id=OLDER_ROWS_ID,
                )


def _has_rows_without_events(root: type[SimpleTask], using: str) -> bool:
    connection = connections[using]
    with connection.cursor() as cursor:
        columns = connection.introspection.get_table_description(cursor, root._meta.db_table)
    rows: models.QuerySet[Any] = models.QuerySet(root, using=using)
    has_sequence_column = any(column.name == "sequence" for column in columns)
    return (rows.filter(sequence=0) if has_sequence_column else rows).exists()
