"""Format tasks as plain text: their timelines and outcomes."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.utils.text import capfirst

from django_simpletask3.models import SimpleTask, TaskEvent
from django_simpletask3.states import Status

HEADINGS = ("offset", "kind", "attempt", "worker", "reason")
RIGHT = {"offset", "attempt"}
WIDTH = 100


def format_timelines(tasks: Sequence[SimpleTask], names: dict[str, str]) -> str:
    """Format the timeline of every task under its title; ``names`` are those of workers."""
    blocks = {task: [_cells(event, task, names) for event in task.events.all()] for task in tasks}
    rows = [HEADINGS, *(row for rows in blocks.values() for row in rows)]
    widths = [max(_width(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = [_line(HEADINGS, widths), _line(["-" * width for width in widths], widths)]
    for task, events in blocks.items():
        lines += [_heading(task), *(_line(cells, widths) for cells in events), *_outcome(task), ""]
    return "\n".join(lines)


def worker_names(tasks: Iterable[SimpleTask]) -> dict[str, str]:
    """Short names of the workers, in the order of their first events."""
    events = sorted(
        (event for task in tasks for event in task.events.all()), key=lambda event: event.event_time
    )
    found = dict.fromkeys(event.worker for event in events if event.worker)
    return {worker: f"worker {number}" for number, worker in enumerate(found, start=1)}


def format_pairs(rows: Sequence[tuple[str, str]]) -> str:
    """Format ``rows`` as two aligned columns."""
    width = max(_width(left) for left, _ in rows)
    return "\n".join(f"  {_padded(left, width)}  {right}" for left, right in rows)


def title_of(task: SimpleTask) -> str:
    """The title of a task: its kind, key and text."""
    return capfirst(f"{task._meta.verbose_name} {task.pk} ({task})")


def _heading(task: SimpleTask) -> str:
    seconds = (task.done_time - task.add_time).total_seconds() if task.done_time else 0.0
    attempts = "1 attempt" if task.attempt == 1 else f"{task.attempt} attempts"
    return f"{title_of(task)}: {Status(task.status).name} after {attempts}, {seconds:.3f} s"


def _cells(event: TaskEvent, task: SimpleTask, names: dict[str, str]) -> tuple[str, ...]:
    offset = (event.event_time - task.add_time).total_seconds()
    worker = names.get(event.worker, event.worker)
    return f"{offset:.3f} s", str(event.kind), str(event.attempt), worker, event.reason


def _outcome(task: SimpleTask) -> Iterator[str]:
    """Yield the lines that describe the error or the result of the task."""
    if task.error_data:
        yield _outcome_line(f"{task.error_data['type']}: {task.error_data['message']}")
        return
    result = task.result_data or {}
    plain = {name: value for name, value in result.items() if not isinstance(value, dict | list)}
    yield _outcome_line(
        ", ".join(f"{name} {value}" for name, value in plain.items()) or "no result"
    )
    for name in [name for name in result if name not in plain]:
        for number, item in enumerate(_items(result[name])):
            yield _outcome_line(item, name="" if number else name.replace("_", " "))


def _items(value: dict[str, Any] | list[Any]) -> Iterator[str]:
    for item in value.items() if isinstance(value, dict) else value:
        cells = item.values() if isinstance(item, dict) else item
        yield item if isinstance(item, str) else ": ".join(map(str, cells))


def _line(cells: Iterable[str], widths: Sequence[int]) -> str:
    padded = (
        _padded(cell, width, right=heading in RIGHT)
        for cell, width, heading in zip(cells, widths, HEADINGS, strict=True)
    )
    return ("    " + "  ".join(padded)).rstrip()


def _padded(text: str, width: int, *, right: bool = False) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space


def _outcome_line(text: str, name: str | None = None) -> str:
    """Format ``text`` as one line of an outcome, cut to ``WIDTH`` columns."""
    start = "    =>  " if name is None else f"        {name:<11} "
    text = start + " ".join(text.split())
    if _width(text) <= WIDTH:
        return text
    while _width(text) > WIDTH - 4:
        text = text[:-1]
    return f"{text} ..."


def _width(text: str) -> int:
    """The width of ``text`` in columns of a terminal; a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
