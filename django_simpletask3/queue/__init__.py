"""SimQ on Redis: the doorbells of the tasks."""

from __future__ import annotations

from .current import get_queue, reset_queue
from .delivery import GRACE_SECONDS, Seat
from .encoding import Undecodable
from .messages import NO_BODY, UNDECODABLE, Message
from .roll import Report
from .simq import Queue
from .upkeep import Recovered
from .urls import parse, redact

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
