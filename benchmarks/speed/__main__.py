"""``python -m benchmarks.speed ours``, ``limits``, ``peers``, ``bars``, ``counted``, ``body``,
``features``, ``growth`` and ``soak``; see their --help. ``chart`` draws their figures.

Measure how fast tasks are enqueued and run, how soon they start, and what that costs. The servers
are private and have default settings: PostgreSQL (or MariaDB, or SQLite) makes every commit
durable. The raw limit is the speed of plain programs that write the same rows and events. Prints
Markdown tables and writes all figures to build/bench-*.json. The exit code is 1 if an entry failed
or exceeded a bound, 2 if the benchmark could not start.
"""

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.speed import chart, comparison, cost_bounds, efficiency, feature_costs, growth, soak
from benchmarks.speed.databases import SetupError
from benchmarks.speed.entries import ContenderFailed
from benchmarks.speed.environment import Environment
from benchmarks.speed.reports import Report

COMMANDS: dict[str, tuple[Callable[[Environment, argparse.Namespace], Report], str]] = {
    "ours": (comparison.compare_with_limits, "this package beside the raw limit"),
    "limits": (comparison.measure_limits, "the raw limit alone"),
    "peers": (comparison.compare_with_peers, "other packages, each in an environment of its own"),
    "bars": (comparison.compare_with_bars, "the figures that have bars, beside their peers"),
    "counted": (cost_bounds.check_bounds, "counted costs of a task; fails if a bound is exceeded"),
    "body": (
        efficiency.measure_efficiency,
        "efficiency with task functions of 1 ms, 10 ms and 1 s",
    ),
    "features": (feature_costs.measure_features, "cost of each optional feature"),
    "growth": (growth.measure_growth, "the same work on tables of millions of rows"),
    "soak": (soak.run_soak, "growth of memory and connections under a steady load"),
}


def main() -> int:
    options = _arguments()
    if options.command == "chart":
        chart.draw(options.sources, options.target)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # cleans up
    run, _ = COMMANDS[options.command]
    try:
        with Environment(options.database) as environment:
            report = run(environment, options)
    except SetupError as reason:
        print(reason, file=sys.stderr)
        return 2
    except (ContenderFailed, TimeoutError) as error:
        print(error, file=sys.stderr)
        return 1
    report.save(options.json or Path("build") / f"bench-{options.command}.json")
    print(report.markdown())
    return int(report.has_failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="command", required=True)
    parsers = {
        name: subparsers.add_parser(name, parents=[_common_options()], help=summary)
        for name, (_, summary) in COMMANDS.items()
    }
    parsers["peers"].add_argument(
        "--only", default="", help="names of peers, separated by commas: celery5,rq3"
    )
    parsers["peers"].add_argument(
        "--idle",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether the idle worker of each peer is measured, which takes a minute and a half",
    )
    for name in ("peers", "bars", "features"):
        parsers[name].add_argument(
            "--rounds", type=int, default=20, help="rounds of taking turns (%(default)s)"
        )
    parsers["counted"].set_defaults(runs=1)
    picture = subparsers.add_parser("chart", help="draw a chart of figures (needs matplotlib)")
    picture.add_argument("sources", type=Path, nargs="+", help="build/bench-*.json")
    picture.add_argument("target", type=Path, help="the image: .svg or .png")
    parsers["growth"].set_defaults(tasks=1_000_000)
    parsers["growth"].add_argument("--events", type=int, default=10_000_000)
    parsers["growth"].add_argument(
        "--drained", type=int, default=10_000, help="tasks that are run (%(default)s)"
    )
    parsers["soak"].add_argument("--minutes", type=float, default=10.0)
    parsers["soak"].add_argument("--rate", type=int, default=100, help="tasks per second (100)")
    return parser.parse_args()


def _common_options() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--database", default="postgres", help="postgres (default), mysql, sqlite or a URL"
    )
    common.add_argument(
        "--tasks", type=int, default=10_000, help="tasks of one drain (%(default)s)"
    )
    common.add_argument(
        "--runs", type=int, default=3, help="runs of each entry, interleaved (%(default)s)"
    )
    common.add_argument("--threads", type=int, default=10, help="threads of a worker (10)")
    common.add_argument("--processes", type=int, default=1, help="processes of a worker (1)")
    common.add_argument("--json", type=Path, help="file for all figures (build/bench-*.json)")
    return common


if __name__ == "__main__":
    sys.exit(main())
