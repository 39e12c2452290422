"""The app of the storm's models."""

from django.apps import AppConfig

from tests.chaos import mortality


class ChaosConfig(AppConfig):
    name = "benchmarks.chaos"
    label = "chaos"

    def ready(self) -> None:
        mortality.arm_from_environment()
