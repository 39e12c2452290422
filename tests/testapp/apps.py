"""The app of the test models."""

import os

from django.apps import AppConfig


class ZooConfig(AppConfig):
    name = "tests.testapp"
    label = "testapp"

    def ready(self) -> None:
        # A server started by a test has a subscriber if the test names a diary.
        if path := os.environ.get("SIMPLETASK3_TEST_DIARY"):
            from tests.testapp.subscribers import write_into

            write_into(path)
