"""What operators order on the dashboard: each gives a sentence, or None if it was not done."""

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
from ..html.values import visible
from ..viewer import Viewer


def _model_named(viewer: Viewer, label: str) -> Any:
    found = {model._meta.label: model for model in viewer.models()}
    if label not in found:
        raise PermissionDenied
    return found[label]


def _pause(viewer: Viewer, target: str) -> Any:
    model = _model_named(viewer, target)
    control.pause(model)
    said = _("%s is paused: workers start no more of its tasks within five seconds.")
    return said % model._meta.label


def _resume(viewer: Viewer, target: str) -> Any:
    model = _model_named(viewer, target)
    control.resume(model)
    return _("%s goes on within five seconds.") % model._meta.label


def _stop(viewer: Viewer, target: str) -> Any:
    try:
        known = [report.worker for report in get_queue().workers()]
    except QueueUnavailable as error:
        messages.error(viewer.request, visible(str(error)))
        return None
    if target not in known:
        messages.error(viewer.request, _("There is no such worker: it does not report any more."))
        return None
    control.delete_stale_stops(known)
    control.stop(target)
    return _("The node of worker %s is asked to stop; it finishes what it runs.") % target


def _replay(viewer: Viewer, target: str) -> Any:
    model = _model_named(viewer, target)
    try:
        count = get_queue().requeue_dead_letters(model.get_event_channel())
    except QueueUnavailable as error:
        messages.error(viewer.request, visible(str(error)))
        return None
    said = ngettext(
        "%d dead letter is in the queue again.", "%d dead letters are in the queue again.", count
    )
    return said % count


#: By the names that the dashboard's buttons have.
ORDERS: dict[str, Callable[[Viewer, str], Any]] = {
    "pause": _pause,
    "resume": _resume,
    "stop": _stop,
    "replay": _replay,
}
