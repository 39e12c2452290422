"""Settings of the example project.

Environment, all optional:

EXAMPLE_VAR    the folder for all files created at run time (default: var beside manage.py)
DATABASE_URL   sqlite:///file, postgres://user:password@host/name, mysql://...
DJANGO_SIMPLETASK3_SIMQ_REDIS_URL
               redis://host:port/db, ...; without it, the project starts its own Redis server
               on first use
"""

import os
from pathlib import Path
from urllib.parse import quote

from django.utils.translation import gettext_lazy as _

from .databases import database

BASE_DIR = Path(__file__).resolve().parent.parent
VAR = Path(os.environ.get("EXAMPLE_VAR") or BASE_DIR / "var").absolute()
VAR.mkdir(parents=True, exist_ok=True)

# For a development machine only: not for the internet.
SECRET_KEY = "an example has no secrets"
DEBUG = True
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_simpletask3",
    "pictures",
    "orders",
    "outbox",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    # After authentication: events record the user of the request.
    "django_simpletask3.context.task_context_middleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"

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
    "default": database(
        os.environ.get("DATABASE_URL") or f"sqlite:///{quote(str(VAR / 'db.sqlite3'))}"
    )
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
MEDIA_URL = "media/"
MEDIA_ROOT = VAR / "media"

DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = (
    os.environ.get("DJANGO_SIMPLETASK3_SIMQ_REDIS_URL") or f"embedded://{quote(str(VAR / 'redis'))}"
)
# Separates this project from others that use the same Redis.
DJANGO_SIMPLETASK3_SIMQ_PREFIX = "simpletask3-example"
