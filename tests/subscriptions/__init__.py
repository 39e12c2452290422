"""Durable subscribers receive each event at least once and in order."""
