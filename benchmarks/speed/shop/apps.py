"""The Django app of the measured task."""

import os

from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "benchmarks.speed.shop"
    label = "bench"

    def ready(self) -> None:
        from benchmarks.speed.shop import features

        features.switch_on(os.environ.get("BENCH_FEATURE", ""))
