"""An app that asks every database something when it is loaded."""

from django.apps import AppConfig
from django.db import connections


class Eager(AppConfig):
    name = "tests.worker.pooled_app"

    def ready(self) -> None:
        for connection in connections.all():
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
