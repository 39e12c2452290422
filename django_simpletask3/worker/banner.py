"""What a person sees of a node: a banner at its start, and a line of progress on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TextIO

from django.db import connections

from .. import __version__
from ..catalog import databases_of
from ..conf import options
from ..exceptions import QueueUnavailable
from ..models import SimpleTask
from ..queue import get_queue, redact


def banner(models: Sequence[type[SimpleTask]], processes: int, *, burst: bool) -> str:
    """Which models run here, in how many threads, through which Redis and databases."""
    used = {alias: connections[alias] for model in models for alias in databases_of(model)}
    mode = "burst" if burst else "until stopped"
    rows = [
        f"  {m._meta.label:<32} {m.get_worker_number():>3} threads   {m.get_event_channel()}"
        for m in models
    ]
    databases = [f"{alias} ({c.vendor}: {c.settings_dict['NAME']})" for alias, c in used.items()]
    connections.close_all()
    return "\n".join(
        [
            f"django-simpletask3 {__version__}: {processes} process(es), {mode}",
            *rows,
            f"  Redis      {redact(options.simq_redis_url)}  prefix {options.simq_prefix}",
            f"  Databases  {', '.join(databases)}",
            *[f"  Warning    {warning}" for warning in _warnings()],
        ]
    )


def _warnings() -> list[str]:
    try:
        return get_queue().check_server()
    except QueueUnavailable as error:
        return [f"Redis does not answer; waiting for it ({error})."]


def progress(stream: TextIO) -> Callable[[dict[str, int]], None] | None:
    """A function that rewrites one line with the counts it is given; None without a terminal."""
    if not stream.isatty():
        return None

    def show(counts: dict[str, int]) -> None:
        stream.write("\r" + "  ".join(f"{name} {count}" for name, count in counts.items()) + " ")
        stream.flush()

    return show
