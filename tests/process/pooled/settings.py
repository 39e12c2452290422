"""The tests' settings, with pools."""

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.process.pooled.apps.Eager"]
DATABASES = {
    alias: {**database, "OPTIONS": {**database["OPTIONS"], "pool": True}}
    for alias, database in DATABASES.items()
}
