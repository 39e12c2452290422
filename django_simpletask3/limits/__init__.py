"""Limits: how many tasks of a kind run at once, over all nodes."""

from .limit import Limit

__all__ = ["Limit"]
