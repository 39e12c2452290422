"""Acknowledge, forget or return messages in Redis."""

from __future__ import annotations

from collections.abc import Sequence

from ..exceptions import QueueUnavailable
from ..logs import get_logger
from ..queue import Message, get_queue

_logger = get_logger(__name__)


def acknowledge(messages: Sequence[Message], *, result: bool) -> None:
    """Acknowledge messages in Redis; never raises.

    If Redis does not answer, a message is delivered once more, and its row is final by then.
    """
    try:
        if messages:
            get_queue().ack_many(messages, result)
    except QueueUnavailable as error:
        _logger.debug("ack_failed messages=%s error=%s", len(messages), error)


def forget(messages: Sequence[Message]) -> None:
    """Remove messages whose tasks wait for something else, and have not ended; never raises."""
    try:
        if messages:
            get_queue().forget_many(messages)
    except QueueUnavailable as error:
        _logger.debug("forget_failed messages=%s error=%s", len(messages), error)


def return_messages(messages: Sequence[Message], reason: str) -> None:
    """Return messages to the head of their queue; never raises."""
    try:
        if messages:
            get_queue().ret_many(messages, reason, head=True)
    except QueueUnavailable as error:
        _logger.debug("return_failed messages=%s error=%s", len(messages), error)
