"""Upper bounds of the counted costs of tasks; ``counted`` fails if one is exceeded."""

import argparse

from benchmarks.speed.comparison import OURS
from benchmarks.speed.databases import SetupError
from benchmarks.speed.entries import Entry
from benchmarks.speed.environment import Environment
from benchmarks.speed.phases import count_calls, drain, enqueue
from benchmarks.speed.reports import Report
from benchmarks.speed.runner import run_interleaved

NAME = "ours"
#: Functions of Python that one ``save()`` enters, on all versions of Python and Django.
CALLS = 215
#: Per 1000 tasks, but for the calls. A drain works in batches, whose number varies a little.
BOUNDS = {
    "save python_calls": CALLS,
    "enqueue commits": 1010,
    "enqueue statements": 1010,
    "enqueue log_bytes": 1_150_000,
    "enqueue redis_trips": 1020,
    "enqueue redis_commands": 5200,
    "bulk commits": 3,
    "bulk statements": 4,
    "bulk log_bytes": 1_100_000,
    "bulk redis_scripts": 5,
    "bulk redis_commands": 1200,
    "drain commits": 30,
    "drain statements": 40,
    "drain log_bytes": 2_800_000,
    "drain redis_trips": 50,
    "drain redis_commands": 12_500,
}


def check_bounds(environment: Environment, options: argparse.Namespace) -> Report:
    """Measure the counted costs, which do not depend on the load, and compare them with bounds."""
    if environment.database.kind != "postgres":
        raise SetupError("Statements and commits are counted by PostgreSQL only.")
    size = {"threads": options.threads, "processes": options.processes, "tasks": options.tasks}
    entry = Entry(NAME, OURS, [enqueue, drain, count_calls], **size)
    report = run_interleaved(
        environment, [entry], options.runs, {"tasks": options.tasks, "runs": options.runs}
    )
    for figure, bound in BOUNDS.items():
        values = report.values(NAME, figure)
        report.conclusions.append(f"{figure}: {max(values, default=0):.0f}, at most {bound}")
        if not values or max(values) > bound:
            report.add_error(NAME, f"{figure}: {values}, at most {bound} were allowed")
    return report
