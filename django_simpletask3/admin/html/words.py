"""Workers, actors and reasons as the pages of the admin show them."""

from __future__ import annotations

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from .values import escape_invisible

# Host name, process id and start time.
_MAX_SPLITS = 2


def worker_label(name: str) -> str:
    """Node and process of a worker: ``app-2 › 4417``; a name of another form unchanged."""
    node, process = worker_node(name), worker_process(name)
    return escape_invisible(f"{node} › {process}" if process else node)


def worker_node(name: str) -> str:
    """The node of the worker called ``name``; a name of another form unchanged."""
    return escape_invisible(name.rsplit(":", _MAX_SPLITS)[0] if worker_process(name) else name)


def worker_process(name: str) -> str:
    """The process id in a worker's name; empty for a name of another form."""
    parts = name.rsplit(":", _MAX_SPLITS)
    is_ours = len(parts) == _MAX_SPLITS + 1 and parts[1].isdecimal()
    return parts[1] if is_ours else ""


def worker(name: str) -> SafeString | str:
    """Node and process of a worker; the title has the full name."""
    label = worker_label(name)
    if label == name:
        return label
    return format_html('<span title="{}">{}</span>', escape_invisible(name), label)


def by(actor: str) -> str:
    """``by maria``; empty without an actor."""
    return _("by %(actor)s") % {"actor": actor_label(actor)} if actor else ""


def actor_label(actor: str) -> str:
    """An actor in words: ``maria``, ``recovery on app-1``, ``schedule “nightly”``."""
    role, _separator, name = actor.partition(" ")
    if role == "recovery" and worker_process(name):
        return _("recovery on %(node)s") % {"node": worker_node(name)}
    if role == "retention" and worker_process(name):
        return _("retention on %(node)s") % {"node": worker_node(name)}
    if role == "schedule" and name:
        return _("schedule “%(key)s”") % {"key": escape_invisible(name)}
    return escape_invisible(actor)


def quoted(reason: str) -> str:
    """``reason`` in quotation marks; empty without one."""
    return f"“{escape_invisible(reason)}”" if reason else ""
