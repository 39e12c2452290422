"""Write the report of a run: a table on the terminal and a JSON file."""

import json
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import django
from django.db import connection

from benchmarks.chaos.invariants import CheckResult

#: How many violations of one kind are reported in full.
_MAX_SHOWN = 20


def machine() -> dict[str, Any]:
    """Return the versions and the number of cores."""
    with connection.cursor() as cursor:
        sql = {"sqlite": "SELECT sqlite_version()"}.get(connection.vendor, "SELECT version()")
        cursor.execute(sql)
        (version,) = cursor.fetchone()
    return {
        "python": platform.python_version(),
        "django": django.get_version(),
        "redis-py": metadata.version("redis"),
        "database": f"{connection.vendor} {version.split(' on ')[0]}",
        "cores": os.cpu_count(),
    }


#: The guarantees, and the kinds of violations that break them.
_GUARANTEES = {
    "lost": ("lost",),
    "recorded twice": ("recorded_twice",),
    "unexplained executions": ("unexplained", "outcome_without_end", "foreign_error", "unrecorded"),
    "effects that are not one": ("effects",),
    "streams that do not give the row": ("fold_differs", "broken_chain"),
    "findings of the audit": ("audit",),
    "leaked": ("leaked", "two_holders"),
    "limits exceeded": ("limit",),
    "dependents not released once": ("dependency",),
    "calls that did not end as they had to": ("call",),
    "ticks not fired once": ("ticks",),
}


def count_violations(result: CheckResult) -> dict[str, int]:
    """Return how often each guarantee was broken."""
    return {
        guarantee: sum(len(result.violations.get(kind, ())) for kind in kinds)
        for guarantee, kinds in _GUARANTEES.items()
    }


def violations(result: CheckResult) -> dict[str, Any]:
    """Return the number of violations of each kind, and the first ones in full."""
    return {
        kind: {"count": len(found), "first": found[:_MAX_SHOWN]}
        for kind, found in sorted(result.violations.items())
        if found
    }


def write(report: Mapping[str, Any], path: Path | None) -> None:
    """Print the table, and write the JSON to ``path`` if given."""
    for section, content in report.items():
        print(f"\n{section}")
        for name, value in content.items() if isinstance(content, dict) else [("", content)]:
            print(f"  {name:<28} {_short(value)}")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=2, default=str) + "\n", encoding="utf-8")


def _short(value: Any) -> str:
    if isinstance(value, dict) and "first" in value:
        return "\n".join([str(value["count"]), *(f"      {text}" for text in value["first"])])
    if isinstance(value, dict):
        return "  ".join(f"{name} {item}" for name, item in value.items())
    if isinstance(value, list):
        return "".join(f"\n      {item}" for item in value) or "none"
    return str(value)
