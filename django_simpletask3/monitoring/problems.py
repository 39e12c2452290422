"""The problems of a health snapshot: what is wrong, since when, what follows, what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext, override

from ..db.errors import MissingSchema
from ..ledger.task_row import table_model
from ..models.registry import task_models
from . import problem_texts as texts
from .health_types import Health, ModelHealth, SubscriptionHealth, TableHealth, WorkerHealth

#: Seconds after which overdue work is a problem.
OVERDUE_SECONDS = 60.0


class ProblemKind(StrEnum):
    """What is wrong; ``values`` of the problem say where."""

    DATABASE = "database"
    MIGRATIONS = "migrations"
    REDIS = "redis"
    EXPIRED_LEASES = "expired_leases"
    NO_WORKER = "no_worker"
    UNSERVED_QUEUE = "unserved_queue"
    STUCK_QUEUE = "stuck_queue"
    NO_RECOVERY = "no_recovery"
    LOST_NODE = "lost_node"
    DEAD_LETTERS = "dead_letters"
    DEAD_DELIVERIES = "dead_deliveries"
    UNKNOWN_SUBSCRIBER = "unknown_subscriber"
    SLOW_SUBSCRIBER = "slow_subscriber"
    OVERDUE_SCHEDULE = "overdue_schedule"


@dataclass(frozen=True, slots=True)
class Problem:
    """A sentence and the values for its placeholders; ``brief`` is the sentence without errors.

    ``seconds`` is for how long it has lasted, if that is known. A page has the sentence in parts,
    with the same placeholders: ``title``, ``consequence`` and ``advice``.
    """

    kind: ProblemKind
    text: texts.ProblemText
    values: Mapping[str, object] = field(default_factory=dict)
    seconds: float | None = None

    def __str__(self) -> str:
        """The sentence in English, whatever language is active."""
        with override("en"):
            return self.translate()

    def translate(self, *, in_full: bool = True) -> str:
        """The sentence in the active language; without ``in_full`` it quotes no error."""
        return self._translate(self.text.sentence if in_full else self._brief)

    def title(self, names: Mapping[str, object]) -> str:
        """What is wrong, in a few words; ``names`` replace values."""
        return self._translate(self.text.title or self._brief, names).rstrip(".。")

    def details(self, names: Mapping[str, object]) -> str:
        """What follows, and what to do."""
        parts = (self.text.consequence, self.text.advice)
        return " ".join(self._translate(part, names) for part in parts if part)

    @property
    def _brief(self) -> str | Promise:
        return self.text.brief or self.text.sentence

    def _translate(self, sentence: str | Promise, names: Mapping[str, object] | None = None) -> str:
        text: Any = gettext(sentence) if isinstance(sentence, str) else sentence
        return str(text % {**self.values, **(names or {})})


def find_problems(health: Health) -> Iterator[Problem]:
    """Yield the problems of ``health``; they do not depend on the active language."""
    for alias, database in health.databases.items():
        if database.error:
            yield unreachable_database(alias, database.error)
    if health.redis.error:
        yield _redis_problem(health.redis.error, is_refusal=health.redis.is_refusal)
    for table in health.tables:
        yield from _table_problems(table)
    yield from _service_problems(health)
    yield from _dead_letter_problems(health.models)
    for subscription in health.subscriptions:
        yield from _subscription_problems(subscription)
    for schedule in health.overdue_schedules:
        values, seconds = asdict(schedule), schedule.overdue
        yield Problem(ProblemKind.OVERDUE_SCHEDULE, texts.OVERDUE_SCHEDULE, values, seconds)


def unreachable_database(alias: str, error: str) -> Problem:
    """The problem that the database ``alias`` does not answer, or not as the models expect."""
    values = {"database": alias, "error": error}
    if isinstance(error, MissingSchema):
        return Problem(ProblemKind.MIGRATIONS, texts.MIGRATIONS, values)
    return Problem(ProblemKind.DATABASE, texts.DATABASE, values)


def lost_node(node: str, tasks: int, unfinished: int, seconds: float | None) -> Problem:
    """The problem that a node is lost, of whose tasks not all have run again."""
    values = {"node": node, "tasks": tasks, "unfinished": unfinished, "again": tasks - unfinished}
    return Problem(ProblemKind.LOST_NODE, texts.LOST_NODE, values, seconds)


def _service_problems(health: Health) -> Iterator[Problem]:
    """The problems that tasks are not run, as far as it is known which workers there are."""
    if not health.redis.is_used:
        yield from _unserved_table_problems(health.tables, health.models)
    elif not health.redis.error:
        yield from _worker_problems(health)


def _redis_problem(error: str, *, is_refusal: bool) -> Problem:
    text = texts.REDIS_REFUSES if is_refusal else texts.REDIS
    return Problem(ProblemKind.REDIS, text, {"error": error})


def is_overdue(seconds: float | None) -> bool:
    """Whether work that is due for ``seconds`` should have been done."""
    return seconds is not None and seconds > OVERDUE_SECONDS


def _table_problems(table: TableHealth) -> Iterator[Problem]:
    if is_overdue(table.longest_expired):
        values, seconds = asdict(table), table.longest_expired
        yield Problem(ProblemKind.EXPIRED_LEASES, texts.EXPIRED_LEASES, values, seconds)


def _dead_letter_problems(models: list[ModelHealth]) -> Iterator[Problem]:
    for model in models:
        if model.dead_letters:
            yield Problem(ProblemKind.DEAD_LETTERS, texts.DEAD_LETTERS, asdict(model))


def _subscription_problems(subscription: SubscriptionHealth) -> Iterator[Problem]:
    values, lag = asdict(subscription), subscription.lag
    if subscription.dead:
        yield Problem(ProblemKind.DEAD_DELIVERIES, texts.DEAD_DELIVERIES, values)
    if subscription.waiting and not subscription.is_registered:
        yield Problem(ProblemKind.UNKNOWN_SUBSCRIBER, texts.UNKNOWN_SUBSCRIBER, values, lag)
    elif subscription.is_registered and is_overdue(lag):
        yield Problem(ProblemKind.SLOW_SUBSCRIBER, texts.SLOW_SUBSCRIBER, values, lag)


def _worker_problems(health: Health) -> Iterator[Problem]:
    if not health.workers:
        yield Problem(ProblemKind.NO_WORKER, texts.NO_WORKER)
        return
    yield from _unserved_model_problems(health)
    yield from _stuck_table_problems(health)
    elapsed = _seconds_since_recovery(health.workers)
    if is_overdue(elapsed):
        yield Problem(ProblemKind.NO_RECOVERY, texts.NO_RECOVERY, {"seconds": elapsed}, elapsed)


def _seconds_since_recovery(workers: list[WorkerHealth]) -> float | None:
    known = [w.seconds_since_recovery for w in workers if w.seconds_since_recovery is not None]
    return min(known, default=None)


def served_labels(health: Health) -> set[str]:
    """The labels of the models of which a worker that reports takes tasks."""
    return {label for worker in health.workers for label in worker.models}


def _unserved_model_problems(health: Health) -> Iterator[Problem]:
    served, roots = served_labels(health), _root_labels()
    for model in health.models:
        if model.model not in served and model.messages:
            root = roots.get(model.model, model.model)
            waits = [table.longest_wait or 0.0 for table in health.tables if table.model == root]
            seconds = max(waits, default=0.0) or None
            yield Problem(ProblemKind.UNSERVED_QUEUE, texts.UNSERVED_QUEUE, asdict(model), seconds)


def _stuck_table_problems(health: Health) -> Iterator[Problem]:
    """Tasks wait of which a worker that reports takes none: it hangs, or its messages are lost."""
    served, roots = served_labels(health), _root_labels()
    for table in health.tables:
        models = [m for m in health.models if roots.get(m.model, m.model) == table.model]
        is_idle = not table.running and not any(model.in_flight for model in models)
        is_taken = any(model.model in served for model in models)
        is_meant = any(model.paused or model.model not in served for model in models)
        if table.due and is_idle and is_taken and not is_meant and is_overdue(table.longest_wait):
            values, seconds = asdict(table), table.longest_wait
            yield Problem(ProblemKind.STUCK_QUEUE, texts.STUCK_QUEUE, values, seconds)


def _root_labels() -> dict[str, str]:
    """The label of the model that has the table, by the label of each task model."""
    return {model._meta.label: table_model(model)._meta.label for model in task_models()}


def _unserved_table_problems(
    tables: list[TableHealth], models: list[ModelHealth]
) -> Iterator[Problem]:
    """Without Redis, idle workers are not known: tasks wait, and none of their table runs."""
    paused = {model.model for model in models if model.paused}
    for table in tables:
        is_served = table.running or table.model in paused or not table.due
        if not is_served and is_overdue(table.longest_wait):
            values = {"model": table.model, "messages": table.due}
            yield Problem(
                ProblemKind.UNSERVED_QUEUE, texts.UNSERVED_QUEUE, values, table.longest_wait
            )
