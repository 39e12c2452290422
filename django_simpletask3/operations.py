"""The operations that migrations of task apps import."""

from .schema.backfill import BackfillEvents, UpgradeFrom01
from .schema.partition import ExtendPartitions, PartitionEvents
from .schema.protect import DropHistory, ProtectEvents

__all__ = [
    "BackfillEvents",
    "DropHistory",
    "ExtendPartitions",
    "PartitionEvents",
    "ProtectEvents",
    "UpgradeFrom01",
]
