"""Settings that the projects of all peers share.

Connections to the database are persistent, as Django advises for production: most peers give each
task a fresh one otherwise.
"""

import os
from typing import Any

from benchmarks.speed.shop.database_urls import database

SECRET_KEY = "only for benchmarks"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["benchmarks.speed.contenders.status_row"]
DATABASES: dict[str, Any] = {
    "default": database(os.environ["BENCH_DATABASE"]) | {"CONN_MAX_AGE": 600}
}
REDIS = os.environ["BENCH_REDIS"]
#: The outcome is stored in a row of the project, so that the peer need not store it, too.
ROW = os.environ.get("BENCH_VARIANT", "plain") == "row"
