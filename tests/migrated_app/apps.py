"""The app whose events the database protects."""

from django.apps import AppConfig


class ShelfConfig(AppConfig):
    name = "tests.migrated_app"
    label = "migrated_app"
