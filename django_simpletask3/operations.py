"""The operations that migrations of task apps import."""

from .schema.backfill import BeginStreams, UpgradeFrom01
from .schema.partition import ExtendPartitions, PartitionEvents
from .schema.protect import DropHistory, ProtectEvents

__all__ = [
    "BeginStreams",
    "DropHistory",
    "ExtendPartitions",
    "PartitionEvents",
    "ProtectEvents",
    "UpgradeFrom01",
]
