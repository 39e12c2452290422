"""A message as a worker gets it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .encoding import loads

NO_BODY = "no_body"
UNDECODABLE = "undecodable"


@dataclass(frozen=True, slots=True)
class Message:
    """One claimed message; ``running_id`` is the claim, which every later word about it carries.

    Two are equal, and hash alike, if they are the same claim of the same message.
    """

    id: str
    channel: str
    running_id: str
    data: Any = field(compare=False)
    attempt: int = field(default=1, compare=False)
    problem: str = field(default="", compare=False)
    worker: str = field(default="", compare=False)

    @property
    def as_dict(self) -> dict[str, Any]:
        """The message in the form that ``simqcore`` gives it."""
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
        """What a script needs to find the message and to check the claim."""
        return self.id.encode(errors="surrogateescape"), self.channel, self.running_id


def build_message(channel: str, worker: str, row: list[Any]) -> Message:
    """The message in one row of what the claim script answered.

    A body that is gone or cannot be read is told by ``problem``; it stops no other message.
    """
    name, token, body, attempt = row
    data, problem = _decode_body(body)
    return Message(
        id=name.decode(errors="surrogateescape"),
        channel=channel,
        running_id=token.decode(),
        data=data,
        attempt=int(attempt or 1),
        problem=problem,
        worker=worker,
    )


def _decode_body(raw: bytes | None) -> tuple[Any, str]:
    if raw is None:
        return None, NO_BODY
    try:
        return loads(raw), ""
    except ValueError:
        return None, UNDECODABLE
