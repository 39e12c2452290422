"""The models that projects import: ``SimpleTask``, ``TaskEvent`` and their querysets."""

from ..control import Dashboard, OperatorCommand
from ..dependencies import tables as _dependency_tables  # noqa: F401 - Django has to know them
from ..ledger.event import TaskEvent, task_foreign_key
from ..ledger.outbox import Delivery
from ..ledger.tombstone import Tombstone
from ..limits import tables as _limit_tables  # noqa: F401
from ..schedules.tables import Schedule, ScheduleTick
from .audit_run import AuditRun, Ledger
from .mixins.expiring_task import ExpiringTask
from .mixins.unique_task import UniqueTask
from .queryset import TaskQuerySet
from .run_records import RunRecord, prefetch_runs
from .task import SimpleTask

__all__ = [
    "AuditRun",
    "Dashboard",
    "Delivery",
    "ExpiringTask",
    "Ledger",
    "OperatorCommand",
    "RunRecord",
    "Schedule",
    "ScheduleTick",
    "SimpleTask",
    "TaskEvent",
    "TaskQuerySet",
    "Tombstone",
    "UniqueTask",
    "prefetch_runs",
    "task_foreign_key",
]
