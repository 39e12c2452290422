"""Celery's guide to Django: without a pool, Celery closes the connection after each task."""

import os

from benchmarks.speed.contenders.base_settings import DATABASES
from benchmarks.speed.contenders.celery5.settings import *  # noqa: F403

_THREADS = int(os.environ.get("BENCH_THREADS", "10"))
_POOL = {"min_size": 1, "max_size": _THREADS}
_DEFAULT = DATABASES["default"]

DATABASES = {
    "default": _DEFAULT | {"CONN_MAX_AGE": 0, "OPTIONS": {**_DEFAULT["OPTIONS"], "pool": _POOL}}
}
