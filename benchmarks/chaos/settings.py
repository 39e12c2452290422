"""Django settings of a chaos run: short leases, one database, the servers of the tests.

The environment variables are those of ``tests/settings.py`` and of ``versions.py``, and
``SIMPLETASK3_CHAOS_LEASE``, the lease in seconds.
"""

import os
from datetime import timedelta

from benchmarks.chaos.versions import LIMIT
from django_simpletask3.limits import Limit
from django_simpletask3.retries import Fixed
from django_simpletask3.unique import Unique
from tests import settings as tests_settings
from tests.databases import database

RUN = tests_settings.RUN
RUN_FOLDER = tests_settings.RUN_FOLDER
REDIS_SOCKET = tests_settings.REDIS_SOCKET
LEASE = float(os.environ.get("SIMPLETASK3_CHAOS_LEASE", "4"))

SECRET_KEY = "only for tests"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django_simpletask3",
    "django_simpletask3.contrib.tasks",
    "benchmarks.chaos.apps.ChaosConfig",
]
DATABASES = {"default": database(tests_settings.DATABASE_URL, "default", RUN, RUN_FOLDER)}
if tests_settings.DATABASE_URL == "sqlite":
    # Short, so that a longer lock raises "database is locked".
    DATABASES["default"]["OPTIONS"] = {**DATABASES["default"]["OPTIONS"], "timeout": 5}

DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = f"unix://{REDIS_SOCKET}"
DJANGO_SIMPLETASK3_SIMQ_PREFIX = f"simpletask3-test-{RUN}"
DJANGO_SIMPLETASK3_SIMQ_POP_TIMEOUT = 1
DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT = LEASE
DJANGO_SIMPLETASK3_SIMQ_TIMEOUT_TASK_RECOVERY_INTERVAL = min(LEASE, 3.0)
DJANGO_SIMPLETASK3_SIMQ_WORKER_STATUS_EXPIRE = 30
DJANGO_SIMPLETASK3_SHUTDOWN_GRACE = LEASE / 2

#: How calls of functions are treated. Django 6.0 does not take these fields in ``@task``.
TASKS = {
    "default": {
        "BACKEND": "django_simpletask3.contrib.tasks.SimpleTaskBackend",
        "QUEUES": ["default", "slow"],
        "OPTIONS": {
            "FUNCTIONS": {
                "benchmarks.chaos.tasks.try_again": {
                    "max_retries": 2,
                    "retry_backoff": Fixed(0.1),
                },
                "benchmarks.chaos.tasks.join": {
                    "unique": Unique("{number}", until="finished", on_conflict="join"),
                },
                "benchmarks.chaos.tasks.replace": {
                    "unique": Unique("{number}", until="started", on_conflict="replace"),
                    "expires": timedelta(seconds=5),
                },
                "benchmarks.chaos.tasks.call": {"limit": Limit(LIMIT, key="{line}")},
                "benchmarks.chaos.tasks.meter": {"limit": Limit(rate="5/s")},
            },
        },
    }
}
