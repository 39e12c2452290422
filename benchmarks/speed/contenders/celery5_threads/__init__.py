"""Celery as celery5 has it, but with threads and Django's pool of database connections."""
