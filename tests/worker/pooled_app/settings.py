"""The tests' settings, with pools."""

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.worker.pooled_app.apps.Eager"]
DATABASES = {
    alias: {**database, "OPTIONS": {**database["OPTIONS"], "pool": True}}
    for alias, database in DATABASES.items()
}
