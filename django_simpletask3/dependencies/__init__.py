"""Dependencies: tasks that wait until other tasks have ended."""

from .compose import Chain, Group, chain, group

__all__ = ["Chain", "Group", "chain", "group"]
