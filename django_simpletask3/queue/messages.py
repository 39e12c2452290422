"""A message as it is pushed, and as it is claimed; whatever Redis holds, that can be built."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .encoding import MAX_BYTES, dumps, loads

NO_BODY = "no_body"
UNDECODABLE = "undecodable"
TOO_LONG = "too_long"
#: What is kept of a body that cannot be decoded.
RAW_BYTES = 1000

#: A longer id becomes a dead letter (claim.lua).
MAX_ID_BYTES = 4096


class EncodedMessage(NamedTuple):
    """A message as Redis stores it: its id, and id and body in YAML."""

    id: bytes | str
    id_yaml: str
    body: str


def encode_message(message_id: str, body: object) -> EncodedMessage:
    """Encode a message for ``push_encoded``.

    Raises TypeError for a body that has no plain form, ValueError for one of more than 64 KiB or
    an id of more than 4 KiB.
    """
    return EncodedMessage(encode_id(message_id), dumps(message_id), dumps(body))


def encode_id(message_id: str) -> bytes:
    """The id as Redis stores it; raises ValueError if a worker would refuse it."""
    raw = message_id.encode(errors="surrogateescape")
    if len(raw) > MAX_ID_BYTES:
        raise ValueError(f"the id of a message has {len(raw)} bytes; at most {MAX_ID_BYTES}")
    return raw


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
    #: With which it was pushed.
    priority: int = field(default=0, compare=False)
    #: The beginning of a body that sets ``problem``.
    raw: bytes = field(default=b"", compare=False, repr=False)

    def __hash__(self) -> int:
        return hash(self.running_id)

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
    message_id, token, body, attempt, length, priority = row
    data, problem = _decode_body(body, length)
    return Message(
        id=message_id.decode(errors="surrogateescape"),
        channel=channel,
        running_id=token.decode(),
        data=data,
        attempt=max(1, int(attempt)),
        problem=problem,
        worker=worker,
        priority=int(priority),
        raw=(body or b"")[:RAW_BYTES] if problem else b"",
    )


def _decode_body(raw: bytes | None, length: int) -> tuple[object, str]:
    if raw is None:
        return None, NO_BODY
    if length > MAX_BYTES:
        return None, TOO_LONG
    try:
        return loads(raw), ""
    except ValueError:
        return None, UNDECODABLE
