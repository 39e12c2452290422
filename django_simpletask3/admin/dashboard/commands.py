"""The dashboard's operator commands: the buttons that offer them, and what they do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ... import control
from ...exceptions import QueueUnavailable
from ...models.task import SimpleTask
from ...queue import get_queue
from ..html.values import escape_invisible
from ..html.words import worker_node
from ..task_details.named_tasks import running_by_worker
from ..viewer import Viewer


@dataclass(frozen=True, slots=True)
class Offer:
    """A button that asks before it does something: what it does to which target."""

    action: str
    target: str
    label: str
    subject: str
    effect: str
    confirm: str
    letter: str = ""


def offer(
    action: str, model: type[SimpleTask], *, number: int = 0, letter: str = "", subject: str = ""
) -> Offer:
    """The button of ``action`` on the queue of ``model``, on all its letters, or on one."""
    name = str(capfirst(model._meta.verbose_name_plural))
    label, effect, confirm = _words(action, name, number)
    return Offer(action, model._meta.label, label, subject or name, effect, confirm, letter)


def offer_stop(worker: str) -> Offer:
    """The button that stops the node of ``worker``."""
    node = worker_node(worker)
    effect = _("It takes no more tasks, finishes what it runs, and ends.")
    return Offer("stop", worker, _("Stop…"), node, effect, _("Stop the node"))


def _words(action: str, name: str, number: int) -> tuple[str, str, str]:
    if action == "pause":
        effect = _("Within 5 seconds, nodes start no more tasks of %(queue)s. Running ones go on.")
        return _("Pause…"), effect % {"queue": name}, _("Pause the queue")
    if action == "resume":
        effect = _("Within 5 seconds, nodes start tasks of %(queue)s again.") % {"queue": name}
        return _("Resume…"), effect, _("Resume the queue")
    if number:
        effect = _("Nodes get these messages again, the oldest 1000 at most.")
        confirm = ngettext("Put back %d message", "Put back %d messages", number) % number
        label = _("Put back all %d…") % number if number > 1 else _("Put back…")
        return label, effect, confirm
    return _("Put back…"), _("Nodes get this message again."), _("Put back the message")


def _visible_model(viewer: Viewer, label: str) -> Any:
    visible_models = {model._meta.label: model for model in viewer.models()}
    if label not in visible_models:
        raise PermissionDenied
    return visible_models[label]


def _pause(viewer: Viewer, target: str) -> object:
    model = _visible_model(viewer, target)
    control.pause(model)
    message = _("%s is paused: workers start no more of its tasks within five seconds.")
    return message % model._meta.label


def _resume(viewer: Viewer, target: str) -> object:
    model = _visible_model(viewer, target)
    control.resume(model)
    return _("%s resumes within five seconds.") % model._meta.label


def _workers(viewer: Viewer) -> list[str]:
    """The workers that report; without Redis, those that run tasks."""
    queue = get_queue()
    if not queue.has_messages:
        return list(running_by_worker(viewer.scope({})))
    return [report.worker for report in queue.workers()]


def _stop(viewer: Viewer, target: str) -> object:
    try:
        workers = _workers(viewer)
    except QueueUnavailable as error:
        messages.error(viewer.request, escape_invisible(str(error)))
        return None
    if target not in workers:
        messages.error(viewer.request, _("There is no such worker: it no longer reports."))
        return None
    control.delete_stale_stops(workers)
    control.stop(target)
    return _("The node of worker %s is asked to stop; it finishes what it runs.") % target


def _replay(viewer: Viewer, target: str) -> object:
    model = _visible_model(viewer, target)
    letter = viewer.request.POST.get("letter", "")
    try:
        count = _put_back(viewer, model, letter)
    except QueueUnavailable as error:
        messages.error(viewer.request, escape_invisible(str(error)))
        return None
    if letter and not count:
        messages.error(viewer.request, _("There is no such message: it was put back already."))
        return None
    message = ngettext(
        "%d message is in the queue again.", "%d messages are in the queue again.", count
    )
    return message % count


def _put_back(viewer: Viewer, model: type[SimpleTask], letter: str) -> int:
    channel = model.get_event_channel()
    if not letter:
        return get_queue().requeue_dead_letters(channel)
    # A user who may not read the letters cannot choose one.
    if not viewer.may_view_every_row(model):
        raise PermissionDenied
    return int(get_queue().requeue_dead_letter(channel, letter))


#: By the ``action`` that the dashboard's buttons post.
COMMANDS: dict[str, Callable[[Viewer, str], Any]] = {
    "pause": _pause,
    "resume": _resume,
    "stop": _stop,
    "replay": _replay,
}
