"""The figures of several runs, as tables in Markdown and as JSON."""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.speed.phases import Figures

_SIDES = ("ours", "theirs")
#: A column of a table: the figure, its heading, the number of digits.
Column = tuple[str, str, int]
RATE_COLUMNS: Sequence[Column] = (
    ("enqueue rate", "enqueue /s", 0),
    ("bulk rate", "bulk /s", 0),
    ("drain rate", "drain /s", 0),
    ("latency p50", "latency p50, ms", 2),
    ("latency p95", "p95, ms", 2),
    ("latency p99", "p99, ms", 2),
    ("memory idle", "memory idle, MB", 0),
    ("memory after", "after the drain, MB", 0),
)
IDLE_COLUMNS: Sequence[Column] = (
    ("idle redis_commands", "Redis commands /s", 1),
    ("idle redis_trips", "Redis round trips /s", 1),
    ("idle statements", "statements /s", 1),
    ("idle worker_cpu", "worker CPU %", 2),
    ("idle database_cpu", "database CPU %", 2),
    ("idle redis_cpu", "Redis CPU %", 2),
)


def per_thousand(phase: str) -> Sequence[Column]:
    """Return the columns of the costs of 1000 tasks in this phase."""
    return (
        (f"{phase} transactions", "transactions", 0),
        (f"{phase} commits", "commits", 0),
        (f"{phase} statements", "statements", 0),
        (f"{phase} log_bytes", "log, bytes", 0),
        (f"{phase} redis_commands", "Redis commands", 0),
        (f"{phase} redis_trips", "Redis round trips", 0),
        (f"{phase} worker_cpu", "worker CPU s", 2),
        (f"{phase} database_cpu", "database CPU s", 2),
        (f"{phase} redis_cpu", "Redis CPU s", 2),
    )


TABLES: Mapping[str, Sequence[Column]] = {
    "Rates, latency, memory": RATE_COLUMNS,
    "Idle worker": IDLE_COLUMNS,
    "Per 1000 tasks: enqueued one by one": per_thousand("enqueue"),
    "Per 1000 tasks: enqueued in bulk": per_thousand("bulk"),
    "Per 1000 tasks: drained": per_thousand("drain"),
}


@dataclass
class Report:
    """The figures measured so far."""

    machine: Mapping[str, Any]
    options: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Column]] = field(default_factory=lambda: TABLES)
    #: Figures with the bar of each, and whether it is reached.
    bars: list[dict[str, Any]] = field(default_factory=list)
    #: Conclusions from the figures, a sentence each.
    conclusions: list[str] = field(default_factory=list)

    @property
    def has_failed(self) -> bool:
        return any("errors" in entry for entry in self.entries.values())

    def add(self, name: str, figures: Figures) -> None:
        """Add the figures of another run of the entry."""
        self._entry(name)["runs"].append(figures)

    def describe(self, name: str, **details: Any) -> None:
        self._entry(name).update(details)

    def add_error(self, name: str, error: str) -> None:
        self._entry(name).setdefault("errors", []).append(error)

    def _entry(self, name: str) -> dict[str, Any]:
        return self.entries.setdefault(name, {"runs": []})

    def runs(self, name: str) -> int:
        """Return the number of successful runs of the entry."""
        return len(self._entry(name)["runs"])

    def values(self, name: str, figure: str) -> list[float]:
        """Return the figure of each run that has it."""
        return [run[figure] for run in self._entry(name)["runs"] if figure in run]

    def save(self, path: Path) -> None:
        """Write all figures, and the minimum, median and maximum of each."""
        entries = {
            name: {**entry, "figures": self._summary(name)} for name, entry in self.entries.items()
        }
        report: dict[str, Any] = {"machine": self.machine, "options": self.options}
        report |= {"notes": self.notes, "bars": self.bars, "conclusions": self.conclusions}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**report, "entries": entries}, indent=1), encoding="utf-8")

    def _summary(self, name: str) -> dict[str, Any]:
        figures = dict.fromkeys(figure for run in self._entry(name)["runs"] for figure in run)
        return {
            figure: {"min": min(values), "median": statistics.median(values), "max": max(values)}
            for figure in figures
            if (values := self.values(name, figure))
        }

    def markdown(self) -> str:
        """Return the head, the tables that are not empty, and a description of each entry."""
        lines = [*self._head(), ""]
        for title, columns in self.tables.items():
            lines += self._table(title, columns)
        lines += self._bars()
        lines += [f"- {sentence}" for sentence in self.conclusions]
        return "\n".join([*lines, *self._about()])

    def _head(self) -> Iterator[str]:
        yield ", ".join(f"{name} {value}" for name, value in self.machine.items())
        yield ", ".join(f"{name} {value}" for name, value in self.options.items())
        yield from self.notes

    def _table(self, title: str, columns: Sequence[Column]) -> list[str]:
        used = [
            column
            for column in columns
            if any(self.values(name, column[0]) for name in self.entries)
        ]
        if not used:
            return []
        rows = [
            f"| {name} | {' | '.join(self._cell(name, column) for column in used)} |"
            for name in self.entries
            if self._entry(name).get("errors") or any(self.values(name, key) for key, _, _ in used)
        ]
        head = f"| {title} | {' | '.join(heading for _, heading, _ in used)} |"
        return [head, "|---" * (len(used) + 1) + "|", *rows, ""]

    def _bars(self) -> list[str]:
        """Return the table of the bars; those that are not reached stand first."""
        if not self.bars:
            return []
        head = "| | beside | ours | theirs | CPU of the caller, µs per task | measured | bar |"
        order = {False: 0, True: 1, None: 2}
        bars = sorted(self.bars, key=lambda bar: order[bar.get("reached")])
        return [head, "|---" * 7 + "|", *map(_bar_row, bars), ""]

    def _cell(self, name: str, column: Column) -> str:
        figure, _, digits = column
        values = self.values(name, figure)
        if not values:
            return "failed" if self._entry(name).get("errors") else ""
        minimum, median, maximum = (
            _number(value, digits)
            for value in (min(values), statistics.median(values), max(values))
        )
        return median if minimum == maximum else f"{median} ({minimum}–{maximum})"

    def _about(self) -> Iterator[str]:
        by_stores: dict[str, list[str]] = {}
        for name, entry in self.entries.items():
            if "stores" in entry:
                versions = ", ".join(f"{key} {value}" for key, value in entry["versions"].items())
                by_stores.setdefault(f"{entry['stores']} ({versions})", []).append(name)
        for stores, names in by_stores.items():
            yield f"- {'; '.join(names)}: {stores}"
        for name, entry in self.entries.items():
            for error in entry.get("errors", ()):
                yield f"- {name} failed: {error.strip().splitlines()[-1]}"


def _bar_row(bar: Mapping[str, Any]) -> str:
    unit = bar.get("unit", "")
    digits = 2 if unit in ("milliseconds", "%") else 0
    sides = [f"{_number(bar[side], digits)} {unit}" if side in bar else "" for side in _SIDES]
    used = [_number(bar[f"{side}, cpu"], 0) for side in _SIDES if f"{side}, cpu" in bar]
    measured, *span = [f"{bar[name]:.4g}" for name in ("measured", "min", "max")]
    if span[0] != span[1]:
        measured += f" ({span[0]}–{span[1]})"
    reached = {True: "reached", False: "behind", None: ""}[bar.get("reached")]
    wanted = f"{bar.get('bar', '')} {reached}".strip()
    cells = [bar["figure"], bar["beside"], *sides, " / ".join(used), measured, wanted]
    return f"| {' | '.join(cells)} |"


def _number(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}".replace(",", "\N{NO-BREAK SPACE}")
