"""Dramatiq by django-dramatiq, with Redis as the broker."""
