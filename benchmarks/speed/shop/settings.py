"""The Django project of the benchmarks: the package, and everything else default.

Connections to the database are persistent, as in the projects of the peers.
The environment is that of a contender: BENCH_DATABASE and BENCH_REDIS are URLs.
"""

import os

from benchmarks.speed.shop.database_urls import database

SECRET_KEY = "only for benchmarks"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django_simpletask3", "benchmarks.speed.shop.apps.ShopConfig"]
DATABASES = {"default": database(os.environ["BENCH_DATABASE"]) | {"CONN_MAX_AGE": 600}}
DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = os.environ["BENCH_REDIS"]
