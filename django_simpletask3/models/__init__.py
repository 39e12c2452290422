"""The models that projects import: ``SimpleTask``, ``TaskEvent`` and their querysets."""

from ..control import Dashboard, OperatorCommand
from ..dependencies.tables import TaskDependency, TaskDependent, TaskGroup
from ..ledger.event import TaskEvent, task_foreign_key
from ..ledger.outbox import Delivery
from ..ledger.tombstone import Tombstone
from ..limits.tables import LimitGate, LimitSlot, LimitWaiter
from .mixins.expiring_task import ExpiringTask
from .mixins.unique_task import UniqueTask
from .queryset import TaskQuerySet
from .run_records import RunRecord, prefetch_runs
from .task import SimpleTask

__all__ = [
    "Dashboard",
    "Delivery",
    "ExpiringTask",
    "LimitGate",
    "LimitSlot",
    "LimitWaiter",
    "OperatorCommand",
    "RunRecord",
    "SimpleTask",
    "TaskDependency",
    "TaskDependent",
    "TaskEvent",
    "TaskGroup",
    "TaskQuerySet",
    "Tombstone",
    "UniqueTask",
    "prefetch_runs",
    "task_foreign_key",
]
