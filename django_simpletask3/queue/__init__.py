"""SimQ on Redis: the doorbells of the tasks."""

from __future__ import annotations

from .current import get_queue, reset_queue
from .encoding import Undecodable
from .messages import NO_BODY, UNDECODABLE, Message
from .roll import Report
from .simq import Queue
from .upkeep import Recovered
from .urls import parse, redact

__all__ = [
    "NO_BODY",
    "UNDECODABLE",
    "Message",
    "Queue",
    "Recovered",
    "Report",
    "Undecodable",
    "get_queue",
    "parse",
    "redact",
    "reset_queue",
]
