"""SimQ on Redis: the messages that make workers start tasks."""

from __future__ import annotations

from .client import get_queue, reset_queue
from .connection import is_in_test_run, outage
from .contract.task_queue import TaskQueue
from .encoding import Undecodable
from .maintenance import RecoveryCounts
from .messages import (
    NO_BODY,
    TOO_LONG,
    UNDECODABLE,
    EncodedMessage,
    Message,
    encode_message,
)
from .operations import GRACE_SECONDS, Waiter
from .simqcore_api import Queue
from .urls import NO_REDIS, parse, redact
from .worker_registry import Report

__all__ = [
    "GRACE_SECONDS",
    "NO_BODY",
    "NO_REDIS",
    "TOO_LONG",
    "UNDECODABLE",
    "EncodedMessage",
    "Message",
    "Queue",
    "RecoveryCounts",
    "Report",
    "TaskQueue",
    "Undecodable",
    "Waiter",
    "encode_message",
    "get_queue",
    "is_in_test_run",
    "outage",
    "parse",
    "redact",
    "reset_queue",
]
