"""Print the report of ``random-faults`` as a Markdown table."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Report = Mapping[str, Any]


def print_report(path: Path) -> int:
    """Print the table of the report at ``path``; return the exit code."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        lines = list(_lines(report))
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{path} is not a report of random-faults: {error!r}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


def _lines(report: Report) -> Iterator[str]:
    yield "| figure | value |"
    yield "|---|---|"
    for name, value in _figures(report):
        yield f"| {name} | {value} |"


def _figures(report: Report) -> Iterator[tuple[str, str]]:
    run, faults, tasks = report["run"], report["faults"], report["tasks"]
    yield "machine", f"{run['cores']} cores, Python {run['python']}, {run['database']}"
    yield "faults", f"{run['faults'] / 60:.1f} min, then {run['drain']:.0f} s to finish all tasks"
    yield "processes killed", f"{_number(faults['processes killed'])}: {_list(faults['by'])}"
    yield "other faults", _list(_others(faults["all"]))
    yield "tasks", _number(tasks["tasks"])
    yield "calls of functions", _number(tasks["calls"])
    yield "ticks of schedules that were fired", _number(tasks["ticks"])
    yield "events", _number(tasks["events"])
    yield "executions", _number(tasks["executions"])
    yield "executions again", _again(report["executed again, after"])
    yield "recoveries, by reason", _list(report["recoveries, by reason"])
    for guarantee, count in report["guarantees"].items():
        yield f"**{guarantee}**", f"**{_number(count)}**"
    yield from _delays(report)
    if stock := report.get("stock queue client, killed in the same way"):
        yield "stock queue client, killed in the same way", _stock(stock)


def _delays(report: Report) -> Iterator[tuple[str, str]]:
    recovered = report["recovered after a kill, seconds"]
    names = {"child": "killed child", "machine": "vanished node"}
    for target, name in names.items():
        found = recovered[f"{target}, no outage near"]
        yield f"{name}: task recovered after", _quantiles(found)
    for name, found in report.get("redelivery without faults, seconds", {}).items():
        yield f"{name}, without other faults: task running again after", _quantiles(found)


def _others(faults: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in faults.items() if not name.startswith("kill_")}


def _again(causes: Mapping[str, int]) -> str:
    return f"{_number(sum(causes.values()))}: {_list(causes)}" if causes else "0"


def _list(counts: Mapping[str, int]) -> str:
    figures = (f"{name.replace('_', ' ')} {_number(count)}" for name, count in counts.items())
    return ", ".join(figures) or "none"


def _stock(stock: Mapping[str, int]) -> str:
    kills, messages = _number(stock["kills"]), _number(stock["messages"])
    return f"{kills} kills, {messages} messages, **{_number(stock['lost'])} lost**"


def _quantiles(found: Mapping[str, float]) -> str:
    if not found["count"]:
        return "none"
    figures = f"median {found['p50']:.2f} s, p95 {found['p95']:.2f} s, max {found['max']:.2f} s"
    above = f"{found['above']:.0f} of {_number(found['count'])}"
    return f"{figures}; above {found['limit']:g} s: {above}"


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\N{NO-BREAK SPACE}")
