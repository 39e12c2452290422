"""Procrastinate: PostgreSQL is the queue."""
