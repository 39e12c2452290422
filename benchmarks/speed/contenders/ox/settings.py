"""Settings of django-ox's README."""

from benchmarks.speed.contenders.base_settings import *  # noqa: F403
from benchmarks.speed.contenders.base_settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "django_ox", "benchmarks.speed.contenders.ox"]
TASKS = {"default": {"BACKEND": "django_ox.backend.OxBackend"}}
