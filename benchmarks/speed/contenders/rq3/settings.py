"""Settings of django-rq's README."""

from benchmarks.speed.contenders.base_settings import *  # noqa: F403
from benchmarks.speed.contenders.base_settings import INSTALLED_APPS, REDIS

INSTALLED_APPS = [*INSTALLED_APPS, "django_rq", "benchmarks.speed.contenders.rq3"]
RQ_QUEUES = {"default": {"URL": REDIS}}
