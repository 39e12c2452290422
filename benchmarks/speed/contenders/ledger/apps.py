"""The app of the row written by hand."""

from django.apps import AppConfig


class LedgerConfig(AppConfig):
    name = "benchmarks.speed.contenders.ledger"
    label = "bench_ledger"
