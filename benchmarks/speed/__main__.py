"""``python -m benchmarks.speed ours``, ``limits``, ``peers``, ``counted``, ``body``, ``features``,
``growth`` and ``soak``; each tells more with --help. ``chart`` draws what they have written.

How fast tasks are enqueued and run, how soon they begin, and what that costs, on private servers
whose settings are those of a fresh installation: PostgreSQL (or MariaDB, or SQLite) makes every
commit durable. The raw limit is what plain programs reach that write the same rows and events.
Prints tables in Markdown and writes everything to build/bench-*.json. The exit code is 1 if an
entry failed or costs more than it may, 2 if nothing could begin.
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
    "counted": (cost_bounds.check_bounds, "what a task costs, counted; fails if that has risen"),
    "body": (efficiency.measure_efficiency, "bodies of 1 ms, 10 ms and 1 s against the ideal"),
    "features": (feature_costs.measure_features, "what each optional feature costs"),
    "growth": (growth.measure_growth, "the same work beside millions of rows"),
    "soak": (soak.run_soak, "what grows while a worker runs for long"),
}


def main() -> int:
    asked = _arguments()
    if asked.word == "chart":
        chart.draw(asked.sources, asked.target)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # nothing is to stay behind
    command, _ = COMMANDS[asked.word]
    try:
        with Environment(asked.database) as environment:
            report = command(environment, asked)
    except SetupError as reason:
        print(reason, file=sys.stderr)
        return 2
    except (ContenderFailed, TimeoutError) as error:
        print(error, file=sys.stderr)
        return 1
    report.save(asked.json or Path("build") / f"bench-{asked.word}.json")
    print(report.markdown())
    return int(report.has_failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    words = parser.add_subparsers(dest="word", required=True)
    each = {
        name: words.add_parser(name, parents=[_common()], help=figures)
        for name, (_, figures) in COMMANDS.items()
    }
    each["peers"].add_argument("--only", default="", help="some of them: celery,rq")
    each["counted"].set_defaults(runs=1)
    picture = words.add_parser("chart", help="draw what was written (needs matplotlib)")
    picture.add_argument("sources", type=Path, nargs="+", help="build/bench-*.json")
    picture.add_argument("target", type=Path, help="a picture: .svg or .png")
    each["growth"].set_defaults(tasks=1_000_000)
    each["growth"].add_argument("--events", type=int, default=10_000_000)
    each["growth"].add_argument("--drained", type=int, default=10_000, help="tasks that are run")
    each["soak"].add_argument("--minutes", type=float, default=10.0)
    each["soak"].add_argument("--rate", type=int, default=100, help="tasks per second (100)")
    return parser.parse_args()


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--database", default="postgres", help="postgres (default), mysql, sqlite or a URL"
    )
    common.add_argument("--tasks", type=int, default=10_000, help="in one drain (%(default)s)")
    common.add_argument("--runs", type=int, default=3, help="interleaved (%(default)s)")
    common.add_argument("--threads", type=int, default=10, help="of a worker (10)")
    common.add_argument("--processes", type=int, default=1, help="of a worker (1)")
    common.add_argument("--json", type=Path, help="where to write everything (build/bench-*.json)")
    return common


if __name__ == "__main__":
    sys.exit(main())
