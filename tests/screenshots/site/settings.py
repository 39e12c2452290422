"""Settings of the project; the environment names its files and its Redis."""

import os
from pathlib import Path

from django.utils.translation import gettext_lazy as _

HERE = Path(__file__).parent
# Where the tracebacks of its tasks say that it is.
BASE_DIR = Path("/srv/shop")

SECRET_KEY = "only for screenshots"
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_simpletask3",
    "tests.screenshots.site.billing",
    "tests.screenshots.site.orders",
]
MIDDLEWARE = [
    "tests.browser.csp.StrictPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_simpletask3.context.task_context_middleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "tests.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SCREENSHOTS_DATABASE", ":memory:"),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA synchronous=OFF; PRAGMA journal_mode=MEMORY;",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# The tables are created at once.
MIGRATION_MODULES = dict.fromkeys(["admin", "auth", "contenttypes", "sessions"])
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
LOCALE_PATHS = [HERE / "locale"]
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"
# The browser's clock goes on: a cookie that ends at a time might have ended.
CSRF_COOKIE_AGE = None
SESSION_EXPIRE_AT_BROWSER_CLOSE = True

DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = os.environ.get("SCREENSHOTS_REDIS", "redis://127.0.0.1:1")
DJANGO_SIMPLETASK3_SIMQ_PREFIX = "shop"
DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT = 60
