"""What somebody should look at, in sentences that can be translated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext, gettext_noop

#: Seconds after which what should have been done is a problem.
OVERDUE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Problem:
    """One sentence, with what is to be filled in; ``brief`` quotes no error."""

    sentence: str
    values: Mapping[str, Any]
    brief: str = ""

    def __str__(self) -> str:
        """The sentence in English, whatever language is active."""
        return self.sentence % self.values

    def translate(self, *, in_full: bool = True) -> str:
        """In the active language; without ``in_full`` no error is quoted."""
        return gettext(self.sentence if in_full else self.brief or self.sentence) % self.values


def find_problems(health: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with what ``health.look()`` has seen."""
    for alias, database in health["databases"].items():
        if database["error"]:
            yield unreachable_database(alias, database["error"])
    if error := health["redis"]["error"]:
        yield Problem(
            gettext_noop("Redis does not answer: %(error)s"),
            {"error": error},
            brief=gettext_noop("Redis does not answer."),
        )
    yield from _table_problems(health)
    if not error:
        yield from _worker_problems(health)
    yield from _subscription_problems(health)


def unreachable_database(alias: str, error: str) -> Problem:
    """The database ``alias`` does not answer."""
    return Problem(
        gettext_noop("The database %(database)r does not answer: %(error)s"),
        {"database": alias, "error": error},
        brief=gettext_noop("The database %(database)r does not answer."),
    )


def _table_problems(health: Mapping[str, Any]) -> Iterator[Problem]:
    for table in health["tables"]:
        overdue = table["longest_ended"]
        if overdue is not None and overdue > OVERDUE_SECONDS:
            yield Problem(
                gettext_noop(
                    "%(lease_ended)d running tasks of %(model)s in %(database)r have an ended "
                    "lease, for %(longest_ended).0f s already: nobody recovers them."
                ),
                table,
            )


def _subscription_problems(health: Mapping[str, Any]) -> Iterator[Problem]:
    for subscription in health["subscriptions"]:
        if subscription["dead"]:
            yield Problem(
                gettext_noop(
                    "%(dead)d deliveries to %(subscription)r in %(database)r are dead: retry them "
                    "in the admin."
                ),
                subscription,
            )
        if subscription["waiting"] and not subscription["is_known"]:
            yield Problem(
                gettext_noop(
                    "%(waiting)d deliveries wait for %(subscription)r in %(database)r, to which "
                    "nobody subscribes."
                ),
                subscription,
            )
        elif (
            subscription["is_known"]
            and subscription["lag"] is not None
            and subscription["lag"] > OVERDUE_SECONDS
        ):
            yield Problem(
                gettext_noop(
                    "The subscriber %(subscription)r in %(database)r is %(lag).0f s behind."
                ),
                subscription,
            )


def _worker_problems(health: Mapping[str, Any]) -> Iterator[Problem]:
    workers = health["workers"]
    if not workers:
        yield Problem(
            gettext_noop(
                "No worker reports. Start one: python manage.py django-simpletask3-server"
            ),
            {},
        )
        return
    served_models = {label for worker in workers for label in worker.get("models", {})}
    for model in health["models"]:
        if model["model"] not in served_models and model["messages"]:
            sentence = gettext_noop("%(messages)d tasks of %(model)s wait, and no worker runs it.")
            yield Problem(sentence, model)
    elapsed = min(worker["seconds_since_recovery"] for worker in workers)
    if elapsed > OVERDUE_SECONDS:
        sentence = gettext_noop(
            "The last pass of recovery ended %(rest).0f s ago: look at the workers' logs."
        )
        yield Problem(sentence, {"rest": elapsed})
