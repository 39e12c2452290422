"""The models that projects import: ``SimpleTask``, ``TaskEvent`` and their querysets."""

from ..control import Dashboard, OperatorCommand
from ..ledger.event import TaskEvent, task_foreign_key
from ..ledger.outbox import Delivery
from ..ledger.tombstone import Tombstone
from .expiring_task import ExpiringTask
from .queryset import TaskQuerySet
from .run_records import RunRecord, prefetch_runs
from .task import SimpleTask

__all__ = [
    "Dashboard",
    "Delivery",
    "ExpiringTask",
    "OperatorCommand",
    "RunRecord",
    "SimpleTask",
    "TaskEvent",
    "TaskQuerySet",
    "Tombstone",
    "prefetch_runs",
    "task_foreign_key",
]
