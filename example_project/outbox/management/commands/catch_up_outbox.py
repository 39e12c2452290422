"""``manage.py catch_up_outbox``: write notifications that a killed process did not write."""

from typing import Any

from django.core.management.base import BaseCommand

from ...receivers import catch_up


class Command(BaseCommand):
    """Write the missing notifications."""

    help = "Writes missing notifications; can be repeated, for example by cron."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{catch_up()} written")
