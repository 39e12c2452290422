"""The app whose events the database protects."""

from django.apps import AppConfig


class ShelfConfig(AppConfig):
    name = "tests.append_only.shelf"
    label = "shelf"
