"""As Procrastinate's guide to Django has it."""

from benchmarks.speed.contenders.project import *  # noqa: F403
from benchmarks.speed.contenders.project import INSTALLED_APPS

INSTALLED_APPS = [
    "procrastinate.contrib.django",
    *INSTALLED_APPS,
    "benchmarks.speed.contenders.procrastinate3",
]
