"""Checks that query a database: triggers, open tombstones, deliveries and old rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.core.checks import WARNING, CheckMessage, Error, Tags, register
from django.db import connections
from django.db.migrations.loader import MigrationLoader

from ..db.tables import has_table
from ..ledger.outbox import Delivery, all_deliveries
from ..ledger.subscribers import registered_subscribers
from ..ledger.task_row import all_rows
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
def check_protection(databases: Iterable[str] | None = None, **_: object) -> list[CheckMessage]:
    """Check that protected tables have their triggers and that no tombstone is open."""
    return [message for using in databases or () for message in _protection(using)]


def _protection(using: str) -> Iterator[CheckMessage]:
    for table in protection_state.protected_tables(using):
        if not triggers.has_expected_triggers(connections[using], table):
            # Not an error: migrate, which restores the triggers, would refuse to run.
            yield CheckMessage(
                WARNING,
                f"The events in {table.name} (database {using!r}) can be changed and deleted: the "
                "triggers that a migration created are missing, altered or disabled.",
                hint=f"Find out why, then restore them with manage.py migrate --database {using}.",
                id=TRIGGERS_ID,
            )
    if protection_state.has_open_tombstone(using):
        yield Error(
            f"Every user can change and delete events in the database {using!r}: a tombstone was "
            "committed while it was open.",
            hint="Set is_open to false in all rows of django_simpletask3_tombstone.",
            id=OPEN_TOMBSTONE_ID,
        )


@register(Tags.database)
def check_deliveries(databases: Iterable[str] | None = None, **_: object) -> list[CheckMessage]:
    """Check that deliveries can be stored and that each stored one has a subscriber."""
    return [message for using in databases or () for message in _deliveries(using)]


def _deliveries(using: str) -> Iterator[CheckMessage]:
    if has_table(Delivery, using):
        yield from _unknown_subscribers(using)
    else:
        yield from _missing_delivery_table(using)


def _unknown_subscribers(using: str) -> Iterator[CheckMessage]:
    names = set(all_deliveries(using).values_list("subscription", flat=True).distinct())
    for name in sorted(names - registered_subscribers().keys()):
        yield CheckMessage(
            WARNING,
            f"Deliveries in the database {using!r} wait for {name!r}, but no subscriber has "
            "this name.",
            hint="Import the subscriber's module in ready(), or delete them in the admin.",
            id=SUBSCRIBER_ID,
        )


def _missing_delivery_table(using: str) -> Iterator[CheckMessage]:
    for root in table_models():
        subscribers = registered_subscribers().values()
        subscription_names = [s.name for s in subscribers if issubclass(root, s.models)]
        if subscription_names and using in databases_of(root):
            # Not an error: migrate, which creates the table, would refuse to run.
            yield CheckMessage(
                WARNING,
                f"Events of {root._meta.label} in the database {using!r} cannot be delivered to "
                f"{', '.join(subscription_names)}: the delivery table is missing, and saving "
                "tasks fails.",
                hint="Let the routers allow django_simpletask3 there, then run manage.py migrate "
                f"--database {using}.",
                obj=root,
                id=DELIVERIES_ID,
            )


@register(Tags.database)
def check_older_rows(databases: Iterable[str] | None = None, **_: object) -> list[CheckMessage]:
    """Check that no rows from before the event table lack events."""
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
                    f"Rows of {root._meta.label} in the database {using!r} have no events: workers "
                    "would run those that are PENDING, the others have no history.",
                    hint="Run manage.py django-simpletask3-migrations "
                    f"{root._meta.app_label}, which writes the missing migration, then migrate.",
                    obj=root,
                    id=OLDER_ROWS_ID,
                )


def _has_rows_without_events(root: type[SimpleTask], using: str) -> bool:
    connection = connections[using]
    with connection.cursor() as cursor:
        columns = connection.introspection.get_table_description(cursor, root._meta.db_table)
    rows = all_rows(root, using)
    has_sequence_column = any(column.name == "sequence" for column in columns)
    return (rows.filter(sequence=0) if has_sequence_column else rows).exists()
