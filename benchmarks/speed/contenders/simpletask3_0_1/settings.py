"""Settings of the README of 0.1.3."""

import os

from benchmarks.speed.contenders.base_settings import *  # noqa: F403
from benchmarks.speed.contenders.base_settings import REDIS

# The first two come with every new project, and its models import from them.
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django_simpletask3",
    "benchmarks.speed.contenders.simpletask3_0_1",
]
DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = REDIS
DJANGO_SIMPLETASK3_DEFAULT_SIMQ_WORKER_NUMBER = int(os.environ.get("BENCH_THREADS", "10"))
