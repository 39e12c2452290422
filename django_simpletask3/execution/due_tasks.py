"""Start the due tasks of a table, without messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from django.db.models import Q

from ..db.errors import may_be_transient
from ..db.loading import load_tasks, models_of_rows
from ..exceptions import RowBusy
from ..ledger.task_row import TaskRow, table_model
from ..logs import get_logger
from ..models.queryset import due_rows, rows_after
from ..models.registry import holds
from ..models.task import SimpleTask
from ..transitions.transition import Transition
from .isolation import RunAlone, set_aside
from .run import Run
from .start import claim, log_failed_claims

_logger = get_logger(__name__)

_PAGE_SIZE = 1000  # rows of a table whose keys are read together
_LOOK_AHEAD = 4  # of so many times as many rows as are wanted the models are looked up at first
MAX_TRIED = 10_000


class Look(NamedTuple):
    """What a look at a table has started: the runs, and how many tasks were tried.

    The tasks that were ``postponed`` were not tried: another transaction has locked their rows, or
    there was a transient error while others started. The next look finds them again.
    """

    runs: list[Run]
    number: int = 0
    postponed: int = 0


class TriedRows:
    """The due rows of a table that could not be started here; looks leave them out.

    Keeps the keys and sequence numbers of some thousand rows. If there are more, looks begin behind
    them, in the order of the search.
    """

    def __init__(self) -> None:
        self._rows: dict[object, int] = {}
        self.begin = Q()

    def __contains__(self, row: tuple[object, int]) -> bool:
        pk, sequence = row
        return self._rows.get(pk) == sequence

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Mapping[object, int]) -> None:
        """Leave out these rows, by their keys, as long as they have these sequence numbers."""
        self._rows.update(rows)

    def forget_if_full(self, begin: Q) -> None:
        """Forget the rows if they are too many, and begin at ``begin`` from now on."""
        if len(self._rows) >= MAX_TRIED:
            self._rows.clear()
            self.begin = begin


def start_from_table(
    model: type[SimpleTask],
    using: str,
    limit: int,
    *,
    worker: str,
    lease: float,
    tried: TriedRows,
    only_overdue: bool = False,
    run_alone: RunAlone | None = None,
) -> Look:
    """Claim up to ``limit`` due tasks of the table, whether they have messages or not.

    With ``only_overdue`` those whose messages are still trusted are left out. If none is due, none
    was tried or postponed. Of the tasks that wait longest, those of the highest priority come
    first. Rows are tried once: ``tried`` gets those that are of no use here. Errors as in
    ``start``, but none for a row that is locked.
    """
    runs: list[Run] = []
    number_tried = number_postponed = 0
    for rows, tasks in _due_batches(model, using, limit, tried, only_overdue=only_overdue):
        lone_tasks = set_aside(tasks, run_alone)
        claims = claim([t for t in tasks if t not in lone_tasks], worker=worker, lease=lease)
        postponed = _postponed(claims)
        number_postponed += len(postponed)
        log_failed_claims(claims)
        started = [claim.task for claim in claims if claim.event is not None]
        # A row that was started has another number by now.
        useful = {task.pk for task in (*started, *postponed)}
        tried.add({pk: sequence for pk, sequence in rows.items() if pk not in useful})
        if number_tried := len(claims) - len(postponed):
            runs = [Run(cast("SimpleTask", task), worker) for task in started]
            break
    if number_postponed:
        tried.begin = Q()
    return Look(runs, number_tried, number_postponed)


def _postponed(claims: Sequence[Transition]) -> list[TaskRow]:
    """The tasks whose rows are locked, or had transient errors.

    Raises the first of these errors if nothing was started: what was started must be run.
    """
    errors = {
        claim.task: claim.error
        for claim in claims
        if claim.event is None and claim.error is not None and may_be_transient(claim.error)
    }
    if all(claim.event is None for claim in claims):
        for error in errors.values():
            if not isinstance(error, RowBusy):
                raise error
    return list(errors)


def _due_batches(
    model: type[SimpleTask], using: str, size: int, tried: TriedRows, *, only_overdue: bool
) -> Iterator[tuple[dict[Any, int], list[SimpleTask]]]:
    """The due tasks of ``model`` that were not tried, ``size`` at a time, with their rows.

    The caller adds to ``tried`` those of the rows that are of no use; the rows of other models are
    added here.
    """
    for page in _due_pages(model, using, tried, only_overdue=only_overdue):
        for own_rows in _own_batches(model, using, page, size, tried):
            yield own_rows, _load_own(model, using, list(own_rows))


def _due_pages(
    model: type[SimpleTask], using: str, tried: TriedRows, *, only_overdue: bool
) -> Iterator[dict[Any, int]]:
    """Keys and sequence numbers of the due rows of the table that were not tried.

    In a page, those of the highest priority come first.
    """
    if not holds(model, using):
        return
    root = table_model(model)
    due, begin = due_rows(root, using, only_overdue=only_overdue), tried.begin
    while True:
        names = ("pk", "sequence", "priority", "check_at")
        page = list(due.filter(begin).values_list(*names)[:_PAGE_SIZE])
        by_priority = sorted(page, key=lambda row: -row[2])
        if untried := {row[0]: row[1] for row in by_priority if row[:2] not in tried}:
            yield untried
        if len(page) < _PAGE_SIZE:
            return
        pk, *_, last = page[-1]
        begin = rows_after(last, pk)
        tried.forget_if_full(begin)


def _own_batches(
    model: type[SimpleTask], using: str, page: Mapping[Any, int], size: int, tried: TriedRows
) -> Iterator[dict[Any, int]]:
    """The rows of ``page`` that are tasks of ``model``, ``size`` at a time."""
    own: list[tuple[Any, int]] = []
    remaining, look_ahead = list(page), _LOOK_AHEAD * size
    while remaining:
        pks, remaining = remaining[:look_ahead], remaining[look_ahead:]
        look_ahead *= _LOOK_AHEAD
        models = models_of_rows(table_model(model), using, pks)
        tried.add({pk: page[pk] for pk in pks if models.get(pk) is not model})
        own += [(pk, page[pk]) for pk in pks if models.get(pk) is model]
        while len(own) >= size or (own and not remaining):
            yield dict(own[:size])
            own = own[size:]


def _load_own(model: type[SimpleTask], using: str, pks: Sequence[object]) -> list[SimpleTask]:
    """The tasks that are of ``model``; a row that cannot be loaded is logged and left out."""
    root = table_model(model)
    try:
        tasks = load_tasks(root, using, pks)
    except Exception as error:
        if may_be_transient(error):
            raise
        if len(pks) > 1:
            return [task for pk in pks for task in _load_own(model, using, [pk])]
        _logger.exception("row_unreadable model=%s pk=%s", root._meta.label, pks[0])
        return []
    return [task for task in tasks if type(task) is model]
