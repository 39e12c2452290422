"""Enqueue tasks on a schedule: ``@schedule("0 6 * * mon-fri", timezone="Europe/Berlin")``."""

from .decorator import schedule
from .definition import CatchUp, Overlap

__all__ = ["CatchUp", "Overlap", "schedule"]
