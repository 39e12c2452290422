"""The banner that a node prints at its start, and its progress line on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from django.db import connections, router

from ... import __version__
from ...conf.options import options
from ...exceptions import QueueRefused, QueueUnavailable
from ...logs import printable
from ...models.task import SimpleTask
from ...queue import get_queue, redact
from .status import Node


def banner(models: Sequence[type[SimpleTask]], processes: int, *, burst: bool) -> str:
    """The models of the node, their threads and channels, its Redis and its databases."""
    mode = "burst" if burst else "until stopped"
    rows = [
        f"  {m._meta.label:<32} {m.get_worker_number():>3} threads   {m.get_event_channel()}"
        for m in models
    ]
    databases = [
        f"{alias} ({connections[alias].vendor}: {connections[alias].settings_dict['NAME']})"
        for alias in dict.fromkeys(alias for model in models for alias in _databases(model))
    ]
    lines = [
        f"django-simpletask3 {__version__}: {processes} process(es), {mode}",
        *rows,
        f"  Redis      {_redis()}",
        f"  Databases  {', '.join(databases)}",
        # A burst does not need Redis, and warns in its log.
        *[f"  Warning    {warning}" for warning in ([] if burst else _warnings())],
    ]
    return "\n".join(map(printable, lines))


def _redis() -> str:
    url = redact(options.simq_redis_url)
    if not get_queue().has_messages:
        return f"{url}  this node polls the tables"
    return f"{url}  prefix {options.simq_prefix}"


def _databases(model: type[SimpleTask]) -> Iterator[str]:
    """The aliases that may hold tasks of ``model``, by settings and routers; queries none."""
    yield router.db_for_write(model)
    for alias in connections:
        is_mirror = connections[alias].settings_dict.get("TEST", {}).get("MIRROR")
        if router.allow_migrate_model(alias, model) and not is_mirror:
            yield alias


def _warnings() -> list[str]:
    try:
        get_queue().check_rights()
        return get_queue().check_server()
    except QueueRefused as refusal:
        return [str(refusal)]
    except QueueUnavailable as error:
        return [f"Redis does not answer; waiting for it ({error})."]


def show_progress(stream: TextIO) -> Callable[[Node], None] | None:
    """A function that rewrites one line with the counts of a node; None without a terminal."""
    if not stream.isatty():
        return None

    def write_line(node: Node) -> None:
        words = "  ".join(f"{name} {count}" for name, count in node.counts.items())
        stream.write(f"\r{words} ")
        stream.flush()

    return write_line
