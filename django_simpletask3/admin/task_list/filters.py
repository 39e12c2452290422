"""The filters of a list of tasks: parameters of its address, and the rows that they select."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import AutoField, ForeignKey, OuterRef, Q, QuerySet, Subquery, TextField
from django.db.models.constants import LOOKUP_SEP
from django.db.models.functions import Substr
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ...ledger.event import events_of
from ...states import EventKind, Status
from ..html import times
from ..html.pills import State
from .states import condition_of, state_of_status

# With a hyphen, which no lookup and no filter of a ModelAdmin is likely to have.
STATE, ERROR, TIME, SINCE, WORKER, RUNS, ACTOR = PARAMETERS = (
    "task-state",
    "task-error",
    "task-time",
    "task-since",
    "task-worker",
    "task-runs",
    "task-actor",
)
#: Who enqueued the tasks: the only value of ACTOR is the user of the request.
ME = "me"
#: The lookup of the status that older addresses have.
STATUS = "status__exact"
#: The columns that hold what a task returned or raised.
_OUTCOMES = frozenset({"error_data", "result_data"})

DONE_TIMES = (
    ("done-hour", _("done in the last hour")),
    ("done-today", _("done today")),
    ("done-week", _("done in the last 7 days")),
    ("done-month", _("done in the last 30 days")),
)
ENQUEUED_TIMES = (
    ("enqueued-hour", _("enqueued in the last hour")),
    ("enqueued-today", _("enqueued today")),
    ("enqueued-week", _("enqueued in the last 7 days")),
)
#: Characters of an error that are searched, and keys of the first events of a period that are read.
_MAX_ERROR_LENGTH, _MAX_FIRST_EVENTS = 500, 100


def is_of_outcome(lookup: str) -> bool:
    """Whether a lookup, in an address or in ``search_fields``, asks for an error or a result."""
    return not _OUTCOMES.isdisjoint(lookup.lstrip("^=@").split(LOOKUP_SEP))


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of this package that an address chooses."""

    state: State | None = None
    error: str = ""
    time: str = ""
    #: The time since when tasks were done.
    since: datetime | None = None
    worker: str = ""
    #: Seconds that a task must have been running for.
    runs: int | None = None
    is_mine: bool = False

    @classmethod
    def of(cls, params: Mapping[str, str]) -> Filters:
        """The filters in the parameters; raises IncorrectLookupParameters for unknown values."""
        state, runs, time = params.get(STATE, ""), params.get(RUNS, ""), params.get(TIME, "")
        since = times.parse_moment(params.get(SINCE, ""))
        is_known = (
            (not state or state in State.__members__.values())
            and (not runs or (runs.isdecimal() and len(runs) < 9))
            and (not time or time in dict((*DONE_TIMES, *ENQUEUED_TIMES)))
            and (since or not params.get(SINCE))
            and params.get(ACTOR, ME) == ME
            # PostgreSQL refuses it in a text.
            and "\x00" not in params.get(ERROR, "") + params.get(WORKER, "")
        )
        if not is_known:
            raise IncorrectLookupParameters
        return cls(
            State(state) if state else state_of_status(params.get(STATUS, "")),
            params.get(ERROR, "").strip(),
            time,
            since,
            params.get(WORKER, "").strip(),
            int(runs) if runs else None,
            ACTOR in params,
        )

    @property
    def is_narrow(self) -> bool:
        """Whether there is another filter than that of the state."""
        is_timed = self.time or self.since or self.runs is not None
        return bool(is_timed or self.is_bounded)

    @property
    def is_bounded(self) -> bool:
        """Whether there is a filter without an index."""
        return bool(self.error or self.worker or self.is_mine)


def apply_indexed(rows: QuerySet[Any], filters: Filters, now: datetime) -> QuerySet[Any]:
    """Those of ``rows`` that the filters with an index select."""
    if filters.state is not None:
        rows = rows.filter(condition_of(filters.state, now))
    if filters.runs is not None:
        began = now - timedelta(seconds=filters.runs)
        rows = rows.filter(status=Status.RUNNING, start_time__lte=began)
    if filters.error and filters.state is None:
        rows = rows.filter(status=Status.FAILED)
    if filters.since is not None:
        rows = rows.filter(done_time__gte=filters.since)
    what, _separator, period = filters.time.partition("-")
    if what == "done":
        rows = rows.filter(done_time__gte=_begin_of(period, now))
    if what == "enqueued":
        rows = _enqueued_since(rows, _begin_of(period, now))
    return rows


def apply_bounded(rows: QuerySet[Any], filters: Filters, user: object, most: int) -> QuerySet[Any]:
    """Those of the newest ``most`` of ``rows`` that the filters without an index select.

    The newest by key; one statement finds the last of them.
    """
    if not filters.is_bounded:
        return rows
    last = rows.order_by("-pk").values_list("pk", flat=True)[most - 1 : most]
    for pk in last:
        rows = rows.filter(pk__gte=pk)
    if filters.error:
        head = Substr("error_data", 1, _MAX_ERROR_LENGTH, output_field=TextField())
        stored = json.dumps(filters.error)[1:-1]
        rows = rows.alias(error_head=head).filter(error_head__icontains=stored)
    if filters.worker:
        of_node = Q(worker__startswith=f"{filters.worker}:")
        rows = rows.filter(Q(worker=filters.worker) | of_node)
    if filters.is_mine:
        # Of each row: planners that can turn a condition into a join read all events for it.
        events = events_of(rows.model, rows.db).order_by("-sequence")
        enqueued = events.filter(task=OuterRef("pk"), kind=EventKind.ENQUEUE)
        rows = rows.alias(enqueued_by=Subquery(enqueued.values("actor")[:1]))
        rows = rows.filter(enqueued_by=str(user))
    return rows


def has_sequential_keys(model: Any) -> bool:
    """Whether the keys of newer rows of ``model`` are higher."""
    return isinstance(model._meta.pk, AutoField | ForeignKey)


def _begin_of(period: str, now: datetime) -> datetime:
    hours = {"hour": 1, "week": 24 * 7, "month": 24 * 30}
    if period in hours:
        return now - timedelta(hours=hours[period])
    local = timezone.localtime(now) if timezone.is_aware(now) else now
    return local.replace(hour=0, minute=0, second=0, microsecond=0)


def _enqueued_since(rows: QuerySet[Any], begin: datetime) -> QuerySet[Any]:
    """Those of ``rows`` that were added since; one statement finds the lowest key.

    By the index of the events: there is none of ``add_time``. Keys are in the order of the events,
    but for those that are added at the same time. Raises IncorrectLookupParameters for a model
    with other keys.
    """
    if not has_sequential_keys(rows.model):
        raise IncorrectLookupParameters
    events = events_of(rows.model, rows.db).filter(kind=EventKind.ENQUEUE, event_time__gte=begin)
    first = events.order_by("event_time").values_list("task_id", flat=True)[:_MAX_FIRST_EVENTS]
    lowest = min(first, default=None)
    return rows.none() if lowest is None else rows.filter(pk__gte=lowest, add_time__gte=begin)
