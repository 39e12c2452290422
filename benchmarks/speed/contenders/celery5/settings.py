"""Celery's guides to Django, Redis and optimizing: a large prefetch for many short tasks."""

from benchmarks.speed.contenders.base_settings import *  # noqa: F403
from benchmarks.speed.contenders.base_settings import INSTALLED_APPS, REDIS, ROW

INSTALLED_APPS = [*INSTALLED_APPS, "django_celery_results", "benchmarks.speed.contenders.celery5"]
CELERY_BROKER_URL = REDIS
CELERY_RESULT_BACKEND = "django-db"
CELERY_TASK_IGNORE_RESULT = ROW
CELERY_WORKER_PREFETCH_MULTIPLIER = 64
