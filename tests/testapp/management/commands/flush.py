"""Empty the tables between tests, twenty times as fast as Django's ``flush``."""

from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.commands import flush
from django.db import connections, transaction

from django_simpletask3.management.commands.flush import flushing

KEPT = {Permission._meta.db_table, ContentType._meta.db_table}


class Command(flush.Command):
    """Keeps permissions and content types, which Django would delete and create again."""

    def handle(self, *args: Any, database: str, **options: Any) -> None:
        connection = connections[database]
        names = connection.introspection.django_table_names(only_existing=True, include_views=False)
        with (
            flushing(database),
            connection.constraint_checks_disabled(),
            transaction.atomic(using=database),
            connection.cursor() as cursor,
        ):
            for name in set(names) - KEPT:
                cursor.execute(f"DELETE FROM {connection.ops.quote_name(name)}")
