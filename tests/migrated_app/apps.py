"""The test app with migrations, which protect its events in the database."""

from django.apps import AppConfig


class MigratedAppConfig(AppConfig):
    name = "tests.migrated_app"
    label = "migrated_app"
