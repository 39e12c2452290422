"""``manage.py catch_up_outbox``: write the notifications that a killed process left unwritten."""

from typing import Any

from django.core.management.base import BaseCommand

from ...receivers import catch_up


class Command(BaseCommand):
    """Write the notifications that are missing."""

    help = "Writes the notifications that are missing; harmless to repeat, made for cron."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{catch_up()} written")
