"""Settings of the READMEs of django-tasks-db and django-tasks."""

from benchmarks.speed.contenders.base_settings import *  # noqa: F403
from benchmarks.speed.contenders.base_settings import INSTALLED_APPS

INSTALLED_APPS = [
    *INSTALLED_APPS,
    "django_tasks",
    "django_tasks_db",
    "benchmarks.speed.contenders.tasks_db",
]
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": ["default"]}}
