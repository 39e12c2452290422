"""The task function of every peer."""

import os

from benchmarks.speed import bodies

RESULT = "OK"


def run_task(argument: str | int) -> str:
    """Run the body; in the variant row, record it in the row with that key."""
    if os.environ.get("BENCH_VARIANT", "plain") != "row":
        bodies.perform()
        return RESULT
    from benchmarks.speed.contenders.status_row import tracking

    with tracking.track_row(int(argument)) as outcome:
        bodies.perform()
        outcome.result = RESULT
    return RESULT
