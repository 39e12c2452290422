"""SimQ on Redis: the doorbells of the tasks."""

from __future__ import annotations

from .client import get_queue, reset_queue
from .encoding import Undecodable
from .maintenance import Recovered
from .messages import NO_BODY, UNDECODABLE, Message
from .operations import GRACE_SECONDS, Seat
from .simqcore_api import Queue
from .urls import parse, redact
from .worker_registry import Report

__all__ = [
    "GRACE_SECONDS",
    "NO_BODY",
    "UNDECODABLE",
    "Message",
    "Queue",
    "Recovered",
    "Report",
    "Seat",
    "Undecodable",
    "get_queue",
    "parse",
    "redact",
    "reset_queue",
]
