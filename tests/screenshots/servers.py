"""Start the process that serves the admin of a scene, and its Redis, whose clocks stand still."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import missing
from tests.project.sources import ROOT
from tests.redis_servers import RedisServer, executable
from tests.wall_clock import GOES_ON, WallClock


@dataclass(frozen=True)
class Site:
    """An admin that answers: its address, the session of its user, the pages of tasks."""

    url: str
    session: str
    tasks: dict[str, str]


@contextmanager
def serve(scene: str, folder: Path) -> Iterator[Site]:
    """Serve the admin of ``scene`` within the block; ``folder`` is for its files."""
    program = executable()
    if program is None:
        missing("redis-server")
    clock = WallClock(folder)
    # It goes on so slowly that it is the same time in all screenshots.
    redis_clock = {**clock.environment, **GOES_ON}
    # Without it the dashboard warns that Redis forgets messages.
    options = ("--appendonly", "yes", "--appendfsync", "no")
    redis = RedisServer(
        str(program), folder / "redis.sock", *options, environment=redis_clock
    ).start()
    environment = {
        **{name: value for name, value in os.environ.items() if "SIMQ" not in name},
        **clock.environment,
        "LOGNAME": "deploy",
        "SCREENSHOTS_DATABASE": str(folder / "site.sqlite3"),
        "SCREENSHOTS_REDIS": redis.url,
    }
    command = [sys.executable, "-m", "tests.screenshots.serve", scene]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            line = server.stdout.readline() if server.stdout else ""
            assert line, f"the scene {scene!r} could not be served: see the error output"
            yield Site(**json.loads(line))
        finally:
            server.kill()
            redis.kill()
