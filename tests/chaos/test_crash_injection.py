"""Every way in which the package sends commands is a step after which a process may die."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import missing
from tests.redis_servers import RedisServer, executable

ROOT = Path(__file__).parents[2]
_PROGRAM = """
import sys
from pathlib import Path
from benchmarks.chaos import crash_injection
from django.conf import settings
settings.configure()
from django_simpletask3.queue import Queue, Waiter
crash_injection.install()
crash_injection.MORTALITY.arm(0, log_path=Path(sys.argv[2]))
queue = Queue.from_url(sys.argv[1])
waiter = Waiter(on_hint=lambda seconds: None)
queue.claim("c", worker="w", lease=9.0, timeout=0.1, waiter=waiter)
queue.push("c", [("a", {})])
[message] = queue.claim("c", worker="w", lease=9.0)
queue.ack_many([message])
"""


def test_each_command_is_a_step(tmp_path: Path) -> None:
    program = executable()
    if program is None:
        missing("redis-server")
    server = RedisServer(program, tmp_path / "r.sock").start()
    steps = tmp_path / "steps"
    try:
        subprocess.run(
            [sys.executable, "-c", _PROGRAM, server.url, str(steps)],
            cwd=ROOT,
            check=True,
            timeout=60,
        )
    finally:
        server.kill()

    taken = steps.read_text("utf-8")
    for step in ("BLMOVE EVALSHA claim", "EVALSHA push", "EVALSHA settle"):
        assert step in taken
