"""The report of a run: one table for people, one JSON for machines."""

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
_SHOWN = 20


def machine() -> dict[str, Any]:
    """Where and with what the run was made."""
    with connection.cursor() as cursor:
        question = {"sqlite": "SELECT sqlite_version()"}.get(connection.vendor, "SELECT version()")
        cursor.execute(question)
        (version,) = cursor.fetchone()
    return {
        "python": platform.python_version(),
        "django": django.get_version(),
        "redis-py": metadata.version("redis"),
        "database": f"{connection.vendor} {version.split(' on ')[0]}",
        "cores": os.cpu_count(),
    }


#: The clauses of the promise, and the kinds of violations that break them.
_CLAUSES = {
    "lost": ("lost",),
    "recorded twice": ("recorded_twice",),
    "unexplained executions": ("unexplained", "unearned", "foreign_error", "unrecorded"),
    "streams that do not give the row": ("fold_differs", "broken_chain"),
    "findings of the audit": ("audit",),
    "leaked": ("leaked",),
}


def broken_promises(result: CheckResult) -> dict[str, int]:
    """How often each clause was broken."""
    return {
        clause: sum(len(result.violations.get(kind, ())) for kind in kinds)
        for clause, kinds in _CLAUSES.items()
    }


def violations(result: CheckResult) -> dict[str, Any]:
    """How many of each kind, and the first of them in full."""
    return {
        kind: {"count": len(found), "first": found[:_SHOWN]}
        for kind, found in sorted(result.violations.items())
        if found
    }


def write(report: Mapping[str, Any], path: Path | None) -> None:
    """Print the table; write the JSON if it is wanted."""
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
