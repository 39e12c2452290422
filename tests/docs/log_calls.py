"""The log events of the package, collected from the calls in its source."""

import ast
import re
from collections import defaultdict
from functools import cache

from django_simpletask3.states import Holder, kinds_where
from tests.project.sources import package_sources

LOGGERS = {"logger", "_logger"}
#: The level of each method of a logger; that of ``log`` is chosen when the program runs.
LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error"} | {
    "exception": "error"
}
#: Levels that are chosen when the program runs, where they are not "warning" alone.
CHOSEN_LEVELS = {
    "task_ack": {"info"},
    "job_failed": {"debug", "warning"},
    "loop_failed": {"debug", "warning"},
    "task_snooze": {"info"},
    "task_cancel": {"info"},
    "task_release": {"info"},
    "task_expire": {"info"},
    "task_stopped": {"info"},
    "task_fail": {"error"},
    "delivery_failed": {"error", "warning"},
}


@cache
def log_calls() -> list[tuple[str, str, str]]:
    """Where, level and template of each call; the level is empty for ``log``."""
    found = []
    for source in package_sources():
        for node in ast.walk(source.tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in LOGGERS
                and node.func.attr in {*LEVELS, "log"}
            ):
                template = node.args[1 if node.func.attr == "log" else 0]
                where = f"{source.name}:{node.lineno}"
                assert isinstance(template, ast.Constant), where
                found.append((where, LEVELS.get(node.func.attr, ""), str(template.value)))
    return found


def _names(template: str) -> list[str]:
    """The events that ``template`` can write."""
    first = template.split(maxsplit=1)[0]
    if first != "task_%s":
        return [first]
    kinds = kinds_where(lambda spec: spec.holder is Holder.ALWAYS and spec.changes_state)
    return [
        f"task_{word}" for word in [*kinds, "cancel", "release", "expire", "rejected", "stopped"]
    ]


def log_events() -> dict[str, tuple[set[str], set[str]]]:
    """Levels and keys by the name of the event."""
    events: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for _, level, template in log_calls():
        for name in _names(template):
            levels, keys = events[name]
            levels.update([level] if level else CHOSEN_LEVELS.get(name, {"warning"}))
            keys.update(re.findall(r"(\w+)=", template))
    return dict(events)
