"""A project that is new: no task, no node."""

from django.db import models

from tests.screenshots.pages import NOW
from tests.screenshots.scenes.steps import set_clock


def fill() -> dict[str, models.Model]:
    """Leave all tables empty."""
    set_clock(NOW)
    return {}
