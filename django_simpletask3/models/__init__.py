"""The models that projects import: ``SimpleTask``, ``TaskEvent`` and their querysets."""

from ..control import Dashboard, Instruction
from ..ledger.event import TaskEvent, stream_of
from ..ledger.outbox import Delivery
from ..ledger.tombstone import Tombstone
from .queryset import TaskQuerySet
from .task import SimpleTask

__all__ = [
    "Dashboard",
    "Delivery",
    "Instruction",
    "SimpleTask",
    "TaskEvent",
    "TaskQuerySet",
    "Tombstone",
    "stream_of",
]
