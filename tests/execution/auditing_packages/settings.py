"""The tests' settings, with the packages whose contexts a body finds."""

from tests.settings import *  # noqa: F403
from tests.settings import DATABASE_URL, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "auditlog", "tests.execution.auditing_packages"]
if DATABASE_URL.startswith("postgres"):
    INSTALLED_APPS += ["pgtrigger", "pghistory"]
# The migrations of these packages depend on those of Django's apps.
MIGRATION_MODULES: dict[str, None] = {}
