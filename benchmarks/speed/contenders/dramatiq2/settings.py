"""Settings of django-dramatiq's README, without the exporter of metrics."""

from benchmarks.speed.contenders.base_settings import *  # noqa: F403
from benchmarks.speed.contenders.base_settings import INSTALLED_APPS, REDIS, ROW

INSTALLED_APPS = ["django_dramatiq", *INSTALLED_APPS, "benchmarks.speed.contenders.dramatiq2"]
DRAMATIQ_BROKER = {
    "BROKER": "dramatiq.brokers.redis.RedisBroker",
    "OPTIONS": {"url": REDIS},
    "MIDDLEWARE": [
        "dramatiq.middleware.AgeLimit",
        "dramatiq.middleware.TimeLimit",
        "dramatiq.middleware.Callbacks",
        "dramatiq.middleware.Retries",
        "django_dramatiq.middleware.DbConnectionsMiddleware",
        *([] if ROW else ["django_dramatiq.middleware.AdminMiddleware"]),
    ],
}
