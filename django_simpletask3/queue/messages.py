"""A claimed message."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .encoding import loads

NO_BODY = "no_body"
UNDECODABLE = "undecodable"


@dataclass(frozen=True, slots=True)
class Message:
    """One claimed message; ``running_id`` identifies the claim in every later operation on it.

    Two messages are equal, and hash alike, if they are the same claim of the same message.
    """

    id: str
    channel: str
    running_id: str
    data: Any = field(compare=False)
    attempt: int = field(default=1, compare=False)
    problem: str = field(default="", compare=False)
    worker: str = field(default="", compare=False)

    @property
    def as_dict(self) -> dict[str, object]:
        """The message as the dict that ``simqcore`` returns."""
        return {
            "id": self.id,
            "channel": self.channel,
            "status": "running",
            "data": self.data,
            "running_id": self.running_id,
            "worker": self.worker,
            "retry_count": self.attempt - 1,
        }

    @property
    def script_arguments(self) -> tuple[bytes, str, str]:
        """The arguments by which a script finds the message and checks the claim."""
        return self.id.encode(errors="surrogateescape"), self.channel, self.running_id


def build_message(channel: str, worker: str, row: list[Any]) -> Message:
    """Build the message from one row of the claim script's reply.

    A missing or unreadable body sets ``problem``; it does not stop other messages.
    """
    message_id, token, body, attempt = row
    data, problem = _decode_body(body)
    return Message(
        id=message_id.decode(errors="surrogateescape"),
        channel=channel,
        running_id=token.decode(),
        data=data,
        attempt=int(attempt or 1),
        problem=problem,
        worker=worker,
    )


def _decode_body(raw: bytes | None) -> tuple[object, str]:
    if raw is None:
        return None, NO_BODY
    try:
        return loads(raw), ""
    except ValueError:
        return None, UNDECODABLE
