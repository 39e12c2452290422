"""All that the dashboard shows, read once: databases that do not answer are left out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ...conf.time_source import machine_now
from ...ledger.task_row import table_model
from ...models.task import SimpleTask
from ...monitoring import health, statistics
from ...monitoring.health_types import Health, ModelHealth, TableHealth
from ...monitoring.recovery_report import Counts, Recovery, RecoveryFilter, count_recoveries, page
from ...monitoring.scope import QueryScope
from ...monitoring.statistics import Period, Statistics
from ...recovery.service import LEASE_EXPIRED, WORKER_DIED
from ...states import EventKind
from ..task_details.named_tasks import RunningTask, TaskKey, running_by_worker
from ..viewer import Viewer

#: Lost attempts that are read of the last 24 hours.
MAX_LOSSES = 200
#: For how long a page keeps its charts: a bucket of any period begins at such a time.
_CHART_SECONDS = 30
_DAY = timedelta(days=1)
_REASONS = (WORKER_DIED, LEASE_EXPIRED)
_LOSSES = (EventKind.RECOVER, EventKind.DROP)


@dataclass(frozen=True, slots=True)
class Board:
    """What was read for one view of the dashboard.

    ``losses`` are attempts that a worker lost within the last 24 hours, the newest first.
    """

    viewer: Viewer
    models: list[type[SimpleTask]]
    health: Health
    scope: QueryScope
    period: Period
    statistics: Statistics
    running: dict[str, list[RunningTask]]
    losses: list[Recovery]
    recoveries: Counts
    now: datetime
    since: datetime
    may_change: bool
    #: Names the half minute in which the charts were read.
    charts_version: str
    #: Whether the page has the charts of this half minute: they are neither read nor sent.
    keeps_charts: bool

    @property
    def has_nodes(self) -> bool:
        """Whether it is known which nodes there are."""
        return self.health.redis.is_used and not self.health.redis.error

    @property
    def tables(self) -> list[TableHealth]:
        """The tables of which the user may view a model."""
        labels = {table_model(model)._meta.label for model in self.models}
        return [table for table in self.health.tables if table.model in labels]

    def tables_of(self, model: type[SimpleTask]) -> list[TableHealth]:
        """The tables of ``model``, one of each database; none of a proxy or a child."""
        return [table for table in self.health.tables if table.model == model._meta.label]

    def queue_of(self, model: type[SimpleTask]) -> ModelHealth | None:
        """The queue of ``model``."""
        label = model._meta.label
        return next((queue for queue in self.health.models if queue.model == label), None)

    @property
    def given_up_keys(self) -> set[TaskKey]:
        """The keys of the tasks that were lost too often, and do not run again."""
        return {k for loss, k in self.lost_keys().items() if loss.kind == EventKind.DROP}

    def lost_keys(self) -> dict[Recovery, TaskKey]:
        """The keys of the tasks of ``losses``."""
        roots = {root._meta.label: root for root in self.scope.models or ()}
        return {
            loss: TaskKey(roots[loss.model], loss.database, loss.task)
            for loss in self.losses
            if loss.model in roots
        }


def read_board(viewer: Viewer, period: Period, *, may_change: bool, page_charts: str = "") -> Board:
    """Read the dashboard of ``viewer``, in a dozen queries and a few whatever is in the tables.

    ``page_charts`` is the version of the charts that the page has.
    """
    state, now = health.snapshot(), machine_now()
    version = str(int(now.timestamp()) // _CHART_SECONDS)
    keeps_charts = page_charts == version
    periods = [Period.HOUR] if keeps_charts else dict.fromkeys((period, Period.HOUR))
    errors = {alias: database.error for alias, database in state.databases.items()}
    scope = viewer.scope({alias: error for alias, error in errors.items() if error})
    since = now - _DAY
    losses = page(RecoveryFilter(scope=scope, since=since, kinds=_LOSSES), MAX_LOSSES)
    return Board(
        viewer=viewer,
        models=viewer.models(),
        health=state,
        scope=scope,
        period=period,
        statistics=statistics.collect(periods, scope),
        running=running_by_worker(scope),
        losses=[loss for loss in losses.recoveries if loss.worker and loss.reason in _REASONS],
        recoveries=count_recoveries(since, scope),
        now=now,
        since=since,
        may_change=may_change,
        charts_version=version,
        keeps_charts=keeps_charts,
    )
