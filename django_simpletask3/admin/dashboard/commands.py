"""The dashboard's operator commands; each returns a message, or None if it failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from ... import control
from ...exceptions import QueueUnavailable
from ...queue import get_queue
from ..html.values import escape_invisible
from ..viewer import Viewer


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


def _stop(viewer: Viewer, target: str) -> object:
    try:
        workers = [report.worker for report in get_queue().workers()]
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
    try:
        count = get_queue().requeue_dead_letters(model.get_event_channel())
    except QueueUnavailable as error:
        messages.error(viewer.request, escape_invisible(str(error)))
        return None
    message = ngettext(
        "%d dead letter is in the queue again.", "%d dead letters are in the queue again.", count
    )
    return message % count


#: By the ``action`` that the dashboard's buttons post.
COMMANDS: dict[str, Callable[[Viewer, str], Any]] = {
    "pause": _pause,
    "resume": _resume,
    "stop": _stop,
    "replay": _replay,
}
