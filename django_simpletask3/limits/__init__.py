"""Limits: how many tasks of a kind run at once, or start in a period, over all nodes."""
