"""The tests' settings on one database only, which a test may break: that of the environment."""

import json
import os

from tests.settings import *  # noqa: F403

DATABASES = {"default": json.loads(os.environ["SIMPLETASK3_OUTAGE_DATABASE"])}
DATABASE_ROUTERS: list[str] = []
