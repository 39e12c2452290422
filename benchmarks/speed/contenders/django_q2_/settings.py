"""Settings of Django Q2's documentation, but every success is kept, not the last 250 only."""

import os

from benchmarks.speed.contenders.base_settings import *  # noqa: F403
from benchmarks.speed.contenders.base_settings import INSTALLED_APPS, REDIS

_WORKERS = int(os.environ.get("BENCH_THREADS", "10")) * int(os.environ.get("BENCH_PROCESSES", "1"))

INSTALLED_APPS = [*INSTALLED_APPS, "django_q", "benchmarks.speed.contenders.django_q2_"]
Q_CLUSTER = {
    "name": "bench",
    "workers": _WORKERS,
    "timeout": 60,
    "retry": 90,
    "save_limit": 0,
    "redis": REDIS,
}
