"""Event-sourced asynchronous tasks for Django: a task is a model row."""

from __future__ import annotations

__version__ = "0.2.0"
