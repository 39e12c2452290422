"""The Django app of the chaos models."""

from django.apps import AppConfig

from benchmarks.chaos import crash_injection, versions


class ChaosConfig(AppConfig):
    name = "benchmarks.chaos"
    label = "chaos"

    def ready(self) -> None:
        crash_injection.arm_from_environment()
        if versions.HAS_SCHEDULES:
            from benchmarks.chaos import storm_schedules

            storm_schedules.declare()
