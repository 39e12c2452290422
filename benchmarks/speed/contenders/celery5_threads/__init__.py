"""Celery as in celery5, but with threads and Django's pool of database connections."""
