"""The app of the test models."""

import os

from django.apps import AppConfig


class TestAppConfig(AppConfig):
    name = "tests.testapp"
    label = "testapp"

    def ready(self) -> None:
        # A worker started by a test has a subscriber if the test names a file for its events.
        if path := os.environ.get("SIMPLETASK3_TEST_EVENT_LOG"):
            from tests.testapp.subscribers import subscribe_and_append_to

            subscribe_and_append_to(path)
