"""The problems of a health snapshot, as sentences that can be translated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext, gettext_noop, ngettext_lazy, override

from ..db.errors import MissingSchema
from .health_types import Health, ModelHealth, SubscriptionHealth, TableHealth, WorkerHealth

#: Seconds after which overdue work is a problem.
OVERDUE_SECONDS = 60.0


#: Sentences that depend on a number.
_EXPIRED_LEASES = ngettext_lazy(
    "%(expired_leases)d running task of %(model)s in %(database)r has an expired lease, for "
    "%(longest_expired).0f s: no worker recovers it.",
    "%(expired_leases)d running tasks of %(model)s in %(database)r have an expired lease, the "
    "oldest for %(longest_expired).0f s: no worker recovers them.",
    "expired_leases",
)
_DEAD_DELIVERIES = ngettext_lazy(
    "%(dead)d delivery to %(subscription)r in %(database)r is dead: retry it in the admin.",
    "%(dead)d deliveries to %(subscription)r in %(database)r are dead: retry them in the admin.",
    "dead",
)
_UNREGISTERED_SUBSCRIBER = ngettext_lazy(
    "%(waiting)d delivery in %(database)r waits for %(subscription)r, but no such subscriber is "
    "registered.",
    "%(waiting)d deliveries in %(database)r wait for %(subscription)r, but no such subscriber is "
    "registered.",
    "waiting",
)
_UNSERVED_MODEL = ngettext_lazy(
    "%(messages)d task of %(model)s waits, and no worker runs it.",
    "%(messages)d tasks of %(model)s wait, and no worker runs them.",
    "messages",
)

_OVERDUE_SCHEDULE = gettext_noop(
    "The schedule %(schedule)s in %(database)r is overdue for %(overdue).0f s: no node fires it."
)


@dataclass(frozen=True, slots=True)
class Problem:
    """A sentence and the values for its placeholders; ``brief`` is the sentence without errors."""

    sentence: str | Promise
    values: Mapping[str, object]
    brief: str = ""

    def __str__(self) -> str:
        """The sentence in English, whatever language is active."""
        with override("en"):
            return self.translate()

    def translate(self, *, in_full: bool = True) -> str:
        """The sentence in the active language; without ``in_full`` it quotes no error."""
        sentence: Any = self.sentence if in_full else self.brief or self.sentence
        return str((gettext(sentence) if isinstance(sentence, str) else sentence) % self.values)


def find_problems(health: Health) -> Iterator[Problem]:
    """Yield the problems of ``health``; they do not depend on the active language."""
    for alias, database in health.databases.items():
        if database.error:
            yield unreachable_database(alias, database.error)
    if health.redis.error:
        yield _redis_problem(health.redis.error, is_refusal=health.redis.is_refusal)
    for table in health.tables:
        yield from _table_problems(table)
    if not health.redis.error:
        yield from _worker_problems(health.workers, health.models)
    for subscription in health.subscriptions:
        yield from _subscription_problems(subscription)
    for schedule in health.overdue_schedules:
        yield Problem(_OVERDUE_SCHEDULE, asdict(schedule))


def _redis_problem(error: str, *, is_refusal: bool) -> Problem:
    if is_refusal:
        sentence = gettext_noop("Redis refuses a command: %(error)s")
        return Problem(sentence, {"error": error}, brief=gettext_noop("Redis refuses a command."))
    sentence = gettext_noop("Redis does not answer: %(error)s")
    return Problem(sentence, {"error": error}, brief=gettext_noop("Redis does not answer."))


def unreachable_database(alias: str, error: str) -> Problem:
    """The problem that the database ``alias`` does not answer, or not as the models expect."""
    if isinstance(error, MissingSchema):
        return Problem(
            gettext_noop(
                "The database %(database)r has unapplied migrations: run manage.py migrate "
                "(%(error)s)."
            ),
            {"database": alias, "error": error},
            brief=gettext_noop(
                "The database %(database)r has unapplied migrations: run manage.py migrate."
            ),
        )
    return Problem(
        gettext_noop("The database %(database)r does not answer: %(error)s"),
        {"database": alias, "error": error},
        brief=gettext_noop("The database %(database)r does not answer."),
    )


def _is_overdue(seconds: float | None) -> bool:
    return seconds is not None and seconds > OVERDUE_SECONDS


def _table_problems(table: TableHealth) -> Iterator[Problem]:
    if _is_overdue(table.longest_expired):
        yield Problem(
            _EXPIRED_LEASES,
            asdict(table),
        )


def _subscription_problems(subscription: SubscriptionHealth) -> Iterator[Problem]:
    values = asdict(subscription)
    if subscription.dead:
        yield Problem(
            _DEAD_DELIVERIES,
            values,
        )
    if subscription.waiting and not subscription.is_registered:
        yield Problem(
            _UNREGISTERED_SUBSCRIBER,
            values,
        )
    elif subscription.is_registered and _is_overdue(subscription.lag):
        yield Problem(
            gettext_noop("The subscriber %(subscription)r in %(database)r is %(lag).0f s behind."),
            values,
        )


def _worker_problems(workers: list[WorkerHealth], models: list[ModelHealth]) -> Iterator[Problem]:
    if not workers:
        yield Problem(
            gettext_noop(
                "No worker reports. Start one: python manage.py django-simpletask3-server"
            ),
            {},
        )
        return
    yield from _unserved_model_problems(workers, models)
    known = [w.seconds_since_recovery for w in workers if w.seconds_since_recovery is not None]
    elapsed = min(known, default=None)
    if _is_overdue(elapsed):
        sentence = gettext_noop(
            "No worker has recovered expired leases for %(seconds).0f s: look at the workers' logs."
        )
        yield Problem(sentence, {"seconds": elapsed})


def _unserved_model_problems(
    workers: list[WorkerHealth], models: list[ModelHealth]
) -> Iterator[Problem]:
    served_labels = {label for worker in workers for label in worker.models}
    for model in models:
        if model.model not in served_labels and model.messages:
            yield Problem(_UNSERVED_MODEL, asdict(model))
