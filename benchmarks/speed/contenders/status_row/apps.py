"""The app of the row of the project."""

from django.apps import AppConfig


class LedgerConfig(AppConfig):
    name = "benchmarks.speed.contenders.status_row"
    label = "bench_ledger"
