"""The values of a health snapshot: databases, Redis, tables, models, subscribers and workers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class DatabaseHealth:
    """One database alias; ``error`` is None if the database answers."""

    vendor: str
    error: str | None


@dataclass(frozen=True, slots=True)
class RedisHealth:
    """The Redis server; ``url`` is without its password, ``error`` None if all is well.

    ``is_used`` is false in a project without Redis, whose workers poll the tables. ``is_refusal``:
    Redis answers, but refuses what is asked of it.
    """

    url: str | None = None
    version: str | None = None
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    is_refusal: bool = False
    is_used: bool = True


@dataclass(frozen=True, slots=True)
class TableHealth:
    """The unfinished tasks of one table in one database; durations are in seconds.

    Unless ``is_complete``, only the MAX_ROWS rows with the earliest due time or lease end are
    counted. Of ``blocked`` tasks, which have neither, at most MAX_ROWS are counted. ``next_due`` is
    when the first task is due that is not due yet. ``oldest`` is the key of the task that has
    waited longest, or is due first; ``cause`` and ``explanation``, which ``explain_oldest()`` adds,
    say why it does not run.
    """

    model: str
    database: str
    pending: int
    due: int
    running: int
    blocked: int
    expired_leases: int
    is_complete: bool
    longest_wait: float | None
    longest_expired: float | None
    next_due: float | None = None
    oldest: str | None = None
    cause: str | None = None
    explanation: str | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """When, by whom and why the queue of a model was paused."""

    time: str
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class ModelHealth:
    """The messages of one task model; the numbers are None unless Redis answers."""

    model: str
    channel: str
    messages: int | None = None
    in_flight: int | None = None
    dead_letters: int | None = None
    paused: Pause | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionHealth:
    """The deliveries of one durable subscriber in one database; ``lag`` is in seconds."""

    subscription: str
    database: str
    waiting: int
    dead: int
    lag: float | None
    is_registered: bool


@dataclass(frozen=True, slots=True)
class LimitHealth:
    """One limit in one database, over all its keys; at most 1000 places and tasks are counted.

    ``running`` is how many places each key has; None without places, or if no model has the limit.
    ``longest_wait`` is for how many seconds the first of the tasks that wait has been blocked.
    """

    limit: str
    database: str
    running: int | None
    taken: int
    waiting: int
    longest_wait: float | None


@dataclass(frozen=True, slots=True)
class DependencyHealth:
    """Tasks that wait for others in one database; of each, at most 1000 are counted.

    ``longest_wait`` is for how many seconds the first of them has been saved.
    """

    database: str
    open_groups: int
    waiting: int
    longest_wait: float | None


@dataclass(frozen=True, slots=True)
class OverdueSchedule:
    """A schedule with a tick that no node has fired, for ``overdue`` seconds."""

    schedule: str
    database: str
    overdue: float


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """What one worker process does for one task model."""

    threads: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """One worker process, as it last reported; ``started`` is a Unix time.

    ``seconds_since_recovery`` is None if the report does not say it. ``jobs`` are the maintenance
    jobs of its node, each with its times and counts. ``supervisor`` is the process id of
    its parent, which the workers of one node have in common.
    """

    worker: str
    node: str
    version: str
    started: float
    seconds_since_report: float
    seconds_since_recovery: float | None
    models: dict[str, ModelLoad]
    counts: dict[str, int]
    jobs: dict[str, dict[str, float]]
    stop_requested: bool = False
    supervisor: int | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """A snapshot of the project's tasks; ``healthy`` means that there are no ``problems``."""

    time: str
    version: str
    databases: dict[str, DatabaseHealth]
    redis: RedisHealth
    tables: list[TableHealth]
    models: list[ModelHealth]
    subscriptions: list[SubscriptionHealth]
    workers: list[WorkerHealth]
    limits: list[LimitHealth] = field(default_factory=list)
    dependencies: list[DependencyHealth] = field(default_factory=list)
    overdue_schedules: list[OverdueSchedule] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    healthy: bool = True
