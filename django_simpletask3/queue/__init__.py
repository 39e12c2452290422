"""SimQ on Redis: the messages that make workers start tasks."""

from __future__ import annotations

from .client import get_queue, reset_queue
from .connection import outage
from .encoding import Undecodable
from .maintenance import RecoveryCounts
from .messages import NO_BODY, TOO_LONG, UNDECODABLE, Message
from .operations import GRACE_SECONDS, Waiter
from .simqcore_api import Queue
from .urls import parse, redact
from .worker_registry import Report

__all__ = [
    "GRACE_SECONDS",
    "NO_BODY",
    "TOO_LONG",
    "UNDECODABLE",
    "Message",
    "Queue",
    "RecoveryCounts",
    "Report",
    "Undecodable",
    "Waiter",
    "get_queue",
    "outage",
    "parse",
    "redact",
    "reset_queue",
]
