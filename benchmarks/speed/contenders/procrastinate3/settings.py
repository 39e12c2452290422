"""Settings of Procrastinate's guide to Django."""

from benchmarks.speed.contenders.base_settings import *  # noqa: F403
from benchmarks.speed.contenders.base_settings import INSTALLED_APPS

INSTALLED_APPS = [
    "procrastinate.contrib.django",
    *INSTALLED_APPS,
    "benchmarks.speed.contenders.procrastinate3",
]
