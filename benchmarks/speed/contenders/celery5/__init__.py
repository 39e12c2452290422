"""Celery with Redis as the broker and django-celery-results."""

from benchmarks.speed.contenders.celery5.celery import app as celery_app

__all__ = ("celery_app",)
