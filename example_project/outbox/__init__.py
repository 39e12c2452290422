"""Notifications about finished tasks."""
