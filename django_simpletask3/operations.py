"""The operations that migrations of apps with task models import."""

from .schema.backfill import BackfillEvents, UpgradeFrom01
from .schema.partition import ExtendPartitions, PartitionEvents
from .schema.protect import DropHistory, ProtectEvents, UnprotectEvents

_OPERATIONS = (
    BackfillEvents,
    DropHistory,
    ExtendPartitions,
    PartitionEvents,
    ProtectEvents,
    UnprotectEvents,
    UpgradeFrom01,
)
for _operation in _OPERATIONS:
    # squashmigrations writes an import of the module that a class names as its own.
    _operation.__module__ = __name__

__all__ = [
    "BackfillEvents",
    "DropHistory",
    "ExtendPartitions",
    "PartitionEvents",
    "ProtectEvents",
    "UnprotectEvents",
    "UpgradeFrom01",
]
