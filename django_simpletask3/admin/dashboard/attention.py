"""The first sentence of the dashboard: all is well, or what needs attention and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ...monitoring import problems
from ...monitoring.problems import Problem, ProblemKind
from ..html.pills import State
from ..html.times import format_moment
from ..html.values import escape_invisible, format_count
from ..task_details.named_tasks import TaskKey
from .board import Board
from .charts import format_seconds
from .commands import Offer, offer
from .nodes import living_workers, lost_nodes, recoveries_query
from .queues import oldest_wait, queue_names, tasks_url
from .sections import deliveries_url, schedule_url

#: A task of a lost node in one of these states has not run again.
_NOT_AGAIN = (State.WAITING, State.SCHEDULED, State.BLOCKED)


@dataclass(frozen=True, slots=True)
class Link:
    """A link that looks like a button."""

    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that needs attention: what, since when, what follows, what to do."""

    id: str
    title: str
    details: str
    error: str = ""
    links: list[Link] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Attention:
    """The sentence, and the entries below it; ``mood`` is ``well``, ``trouble`` or ``idle``."""

    mood: str
    sentence: str
    details: str = ""
    details_url: str = ""
    details_link: str = ""
    entries: list[Entry] = field(default_factory=list)


def read_attention(board: Board, states: dict[TaskKey, State]) -> Attention:
    """The sentence and the entries; ``states`` are those of the tasks that were lost."""
    found = [*problems.find_problems(board.health), *_further_problems(board, states)]
    if _is_idle(board, found):
        return Attention(
            "idle",
            _("Nothing runs yet: no node reports."),
            _("Tasks can be enqueued now, and wait until a node is started."),
        )
    if not found:
        return _well(board)
    entries = [_entry(board, problem) for problem in found]
    sentence = ngettext("%d thing needs attention.", "%d things need attention.", len(entries))
    return Attention("trouble", sentence % len(entries), entries=entries)


def _further_problems(board: Board, states: dict[TaskKey, State]) -> Iterator[Problem]:
    """Problems that only the page sees: databases lost meanwhile, and lost nodes."""
    known = {alias for alias, database in board.health.databases.items() if database.error}
    for alias, error in (board.scope.unreachable or {}).items():
        if alias not in known:
            yield problems.unreachable_database(alias, error)
    given_up = board.given_up_keys
    for node in lost_nodes(board):
        running = {task.key for task in node.running}
        lost = node.keys - given_up
        waiting = {key for key in lost if states.get(key) in _NOT_AGAIN}
        if unfinished := len(waiting | running):
            yield problems.lost_node(node.name, len(lost | running), unfinished, node.seconds)


def _is_idle(board: Board, found: list[Problem]) -> bool:
    """Whether no node was ever needed: none reports, and no task is due, runs or ran today."""
    is_alone = [problem.kind for problem in found] == [ProblemKind.NO_WORKER]
    is_used = any(table.due or table.running for table in board.health.tables)
    return is_alone and not is_used and not board.statistics.by_table


def _well(board: Board) -> Attention:
    facts = [_queues_fact(board), *_nodes_fact(board), _wait_fact(board)]
    details = ", ".join(facts)
    if not board.losses:
        return Attention("well", _("All is well."), details)
    last = board.losses[0]
    lost = {key for loss, key in board.lost_keys().items() if loss.worker == last.worker}
    time = format_moment(last.time, board.now, seconds=False)
    details += " " + _("The last trouble was at %(time)s:") % {"time": time}
    url = f"{_url(board, 'recoveries')}?{recoveries_query(board, last.worker)}"
    link = _loss_words(len(lost - board.given_up_keys), len(lost & board.given_up_keys))
    return Attention("well", _("All is well."), details, url, link)


def _loss_words(again: int, given_up: int) -> str:
    """What became of the tasks of a lost worker: a task that was lost several times is one."""
    ran = ngettext(
        "a worker was lost, and its task ran again",
        "a worker was lost, and its %(number)s tasks ran again",
        again,
    ) % {"number": format_count(again)}
    if not given_up:
        return ran
    if again:
        text = ngettext("%(number)s was given up", "%(number)s were given up", given_up)
        return f"{ran}, {text % {'number': format_count(given_up)}}"
    text = ngettext(
        "a worker was lost, and its task was given up",
        "a worker was lost, and its %(number)s tasks were given up",
        given_up,
    )
    return text % {"number": format_count(given_up)}


def _queues_fact(board: Board) -> str:
    labels = {model._meta.label for model in board.models}
    queues = [queue for queue in board.health.models if queue.model in labels]
    paused = sum(queue.paused is not None for queue in queues)
    number = len(queues) - paused
    text = ngettext("%d queue takes tasks", "%d queues take tasks", number) % number
    if not paused:
        return text
    return f"{text}, {ngettext('%d is paused', '%d are paused', paused) % paused}"


def _nodes_fact(board: Board) -> Iterator[str]:
    if board.has_nodes:
        number = len({(w.node, w.supervisor) for w in living_workers(board)})
        yield ngettext("%d node reports", "%d nodes report", number) % number


def _wait_fact(board: Board) -> str:
    wait = oldest_wait(board.tables)
    if wait is None:
        return _("nothing waits.")
    return _("nothing waits longer than %(wait)s.") % {"wait": format_seconds(wait)}


def _entry(board: Board, problem: Problem) -> Entry:
    values = {name: _escape(value) for name, value in problem.values.items()}
    names = queue_names(board)
    values["model"] = names.get(str(values.get("model", "")), values.get("model", ""))
    title = problem.title(values)
    if problem.seconds is not None:
        moment = board.now - timedelta(seconds=problem.seconds)
        since = format_moment(moment, board.now, seconds=False)
        title = _("%(what)s since %(time)s") % {"what": title, "time": since}
    place = values.get("node") or values.get("database") or ""
    return Entry(
        id=f"{problem.kind}-{problem.values.get('model', '')}-{place}",
        title=title,
        details=problem.details(values),
        error=str(values["error"]) if "error" in values and board.may_change else "",
        links=[link for link in _links(board, problem) if link.url],
        offers=[*_offers(board, problem)] if board.may_change else [],
    )


def _escape(value: object) -> Any:
    return escape_invisible(value) if isinstance(value, str) else value


def _links(board: Board, problem: Problem) -> list[Link]:
    make_links = _LINKS.get(problem.kind)
    return make_links(board, problem) if make_links else [Link(_("Look again"), _url(board))]


def _waiting_links(board: Board, problem: Problem) -> list[Link]:
    url = _tasks_url(board, problem, State.WAITING)
    return [Link(_("Waiting tasks"), url), Link(_("Nodes"), "#st3-nodes")]


def _lost_task_links(board: Board, problem: Problem) -> list[Link]:
    url = _tasks_url(board, problem, State.RUNNING)
    return [Link(_("Running tasks"), url), Link(_("Nodes"), "#st3-nodes")]


def _lost_node_links(board: Board, problem: Problem) -> list[Link]:
    query = recoveries_query(board, str(problem.values["node"]).split(" › ")[0])
    return [Link(_("Its tasks"), f"{_url(board, 'recoveries')}?{query}")]


def _delivery_links(board: Board, problem: Problem) -> list[Link]:
    url = deliveries_url(board, str(problem.values["subscription"]))
    return [Link(_("Deliveries"), url), Link(_("Subscriptions"), "#st3-subscriptions")]


def _schedule_links(board: Board, problem: Problem) -> list[Link]:
    url = schedule_url(board, str(problem.values["schedule"]))
    return [Link(_("The schedule"), url), Link(_("Nodes"), "#st3-nodes")]


_Links = Callable[[Board, Problem], list[Link]]
#: Databases and Redis have no page: the others have.
_LINKS: dict[ProblemKind, _Links] = {
    ProblemKind.EXPIRED_LEASES: _lost_task_links,
    ProblemKind.UNSERVED_QUEUE: _waiting_links,
    ProblemKind.STUCK_QUEUE: _waiting_links,
    ProblemKind.NO_WORKER: lambda _board, _problem: [Link(_("Nodes"), "#st3-nodes")],
    ProblemKind.NO_RECOVERY: lambda _board, _problem: [Link(_("Nodes"), "#st3-nodes")],
    ProblemKind.LOST_NODE: _lost_node_links,
    ProblemKind.DEAD_LETTERS: lambda _board, _problem: [Link(_("Read them"), "#st3-letters")],
    ProblemKind.DEAD_DELIVERIES: _delivery_links,
    ProblemKind.UNKNOWN_SUBSCRIBER: _delivery_links,
    ProblemKind.SLOW_SUBSCRIBER: _delivery_links,
    ProblemKind.OVERDUE_SCHEDULE: _schedule_links,
}


def _offers(board: Board, problem: Problem) -> Iterator[Offer]:
    model = next((m for m in board.models if m._meta.label == problem.values.get("model")), None)
    if model is None:
        return
    if problem.kind in (ProblemKind.UNSERVED_QUEUE, ProblemKind.STUCK_QUEUE):
        queue = board.queue_of(model)
        if queue is not None and queue.paused is None:
            yield offer("pause", model)
    if problem.kind is ProblemKind.DEAD_LETTERS:
        yield offer("replay", model, number=int(str(problem.values["dead_letters"])))


def _tasks_url(board: Board, problem: Problem, state: State) -> str:
    label = problem.values["model"]
    model = next((m for m in board.models if m._meta.label == label), None)
    return tasks_url(board, model, state) if model is not None else ""


def _url(board: Board, page: str = "changelist") -> str:
    return reverse(f"{board.viewer.site.name}:django_simpletask3_dashboard_{page}")
