"""The base class of the commands that work with the databases of a project."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand


class DatabaseCommand(BaseCommand):
    """A command whose system checks connect to no database.

    Since 6.1, Django lets the checks of the models query every database of the project, also one
    that is down, or that the command has nothing to do with. The command itself finds out which of
    those it needs answer, and says so.
    """

    def get_check_kwargs(self, options: Any) -> Any:
        """Return the arguments of Django's check(), with no database to query."""
        return {**super().get_check_kwargs(options), "databases": []}
