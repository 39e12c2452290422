"""Empty the tables between tests, twenty times as fast as Django's own command of this name."""

from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.commands import flush
from django.db import connections, transaction

from django_simpletask3.management.commands.flush import flushing

FOR_GOOD = {Permission._meta.db_table, ContentType._meta.db_table}


class Command(flush.Command):
    """Django truncates every table and makes all permissions anew; here they stay."""

    def handle(self, *args: Any, database: str, **options: Any) -> None:
        connection = connections[database]
        names = connection.introspection.django_table_names(only_existing=True, include_views=False)
        with (
            flushing(database),
            connection.constraint_checks_disabled(),
            transaction.atomic(using=database),
            connection.cursor() as cursor,
        ):
            for name in set(names) - FOR_GOOD:
                cursor.execute(f"DELETE FROM {connection.ops.quote_name(name)}")
