"""The app of the storm's models."""

import os
import platform

from django.apps import AppConfig

from tests.chaos import mortality


class ChaosConfig(AppConfig):
    name = "benchmarks.chaos"
    label = "chaos"

    def ready(self) -> None:
        mortality.arm_from_environment()
        # As if every node had a machine of its own: from another machine, nobody sees who is dead.
        if host := os.environ.get("SIMPLETASK3_CHAOS_HOST"):
            platform.node = lambda: host
