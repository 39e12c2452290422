"""Which tables a database has."""

from __future__ import annotations

from django.db import connections, models


def has_table(model: type[models.Model], using: str) -> bool:
    """Whether the database ``using`` has the table of ``model``; one query."""
    return model._meta.db_table in connections[using].introspection.table_names()
