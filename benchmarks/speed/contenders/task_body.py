"""What the task of every peer does with its argument."""

import os

from benchmarks.speed import bodies

RESULT = "OK"


def run_task(argument: str | int) -> str:
    """Run the body; in the variant row, the row of that key tells of it."""
    if os.environ.get("BENCH_VARIANT", "plain") != "row":
        bodies.perform()
        return RESULT
    from benchmarks.speed.contenders.status_row import tracking

    with tracking.track_row(int(argument)) as account:
        bodies.perform()
        account.result = RESULT
    return RESULT
