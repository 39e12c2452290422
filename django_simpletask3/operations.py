"""The operations that migrations of apps with task models import."""

from .schema.backfill import BackfillEvents, UpgradeFrom01
from .schema.partition import ExtendPartitions, PartitionEvents
from .schema.protect import DropHistory, ProtectEvents, UnprotectEvents
from .schema.rename import RenameTaskModel

__all__ = [
    "BackfillEvents",
    "DropHistory",
    "ExtendPartitions",
    "PartitionEvents",
    "ProtectEvents",
    "RenameTaskModel",
    "UnprotectEvents",
    "UpgradeFrom01",
]

for _name in __all__:
    # squashmigrations writes an import of the module that a class names as its own.
    globals()[_name].__module__ = __name__
