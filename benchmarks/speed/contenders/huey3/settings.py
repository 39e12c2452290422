"""Settings of Huey's guide to Django."""

from benchmarks.speed.contenders.base_settings import *  # noqa: F403
from benchmarks.speed.contenders.base_settings import INSTALLED_APPS, REDIS, ROW

INSTALLED_APPS = [*INSTALLED_APPS, "huey.contrib.djhuey", "benchmarks.speed.contenders.huey3"]
HUEY = {
    "huey_class": "huey.RedisHuey",
    "name": "bench",
    "results": not ROW,
    "immediate": False,
    "connection": {"url": REDIS},
}
