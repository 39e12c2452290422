"""kill -9 at every command from push to ack: no message is lost, no key is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.eventually import eventually
from tests.queue.conftest import CHANNEL
from tests.queue.proxy import Proxy

COMMANDS = [
    "push",
    "claim",
    "heartbeat",
    "return",
    "claim",
    "ack",
    "register",
    "move-and-claim",
    "ack",
]
WINDOWS = [(number, when) for number in range(1, len(COMMANDS) + 1) for when in ("before", "after")]


class Children:
    """A process that forks a child for each URL and priority in its input."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.queue.child"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, url: str, priority: int = 0) -> int:
        self.process.stdin.write(f"{url} {priority}\n")
        self.process.stdin.flush()
        return int(self._line("started ")[0])

    def exit_code(self, pid: int) -> int:
        return int(self._line(f"ended {pid} ")[0])

    def _line(self, opening: str) -> list[str]:
        """The rest of the next line that begins with ``opening``; skips lines of failed tests."""
        for line in self.process.stdout:
            if line.startswith(opening):
                return line.removeprefix(opening).split()
        raise AssertionError("the parent of the children has ended")

    def close(self) -> None:
        self.process.communicate()


@pytest.fixture(scope="module")
def children():
    running = Children()
    yield running
    running.close()


@pytest.fixture
def proxy(server):
    running = Proxy(server.socket)
    yield running
    running.close()


def is_waiting(raw):
    return raw.info("clients")["blocked_clients"] >= 1


def statuses(queue):
    return {name: (queue.query(name) or {}).get("status") for name in "ab"}


def reconcile(queue, priority):
    """Recover, and push the unfinished messages that the queue has lost, as a server does."""
    queue.recover()
    wanted = [name for name, status in statuses(queue).items() if status != "done"]
    missing = queue.missing(CHANNEL, wanted)
    priorities = dict.fromkeys(missing, priority)
    queue.push(CHANNEL, [(name, {"id": name}) for name in missing], priorities=priorities)
    return wanted


def drain(queue):
    held = queue.claim(CHANNEL, worker="w", lease=60, limit=10)
    assert queue.ack_many(held) == [True] * len(held)
    return sorted(message.id for message in held)


def warm_up(queue):
    """Let Redis cache every script, so that each step is one command."""
    queue.push("warm-up", [("x", 1)])
    held = queue.claim("warm-up", worker="w", lease=60)
    queue.heartbeat("w", held, lease=60)
    queue.ret_many(held)
    queue.ack_many(queue.claim("warm-up", worker="w", lease=60))


def live_until_killed(children, proxy, queue, raw, *, number, when, priority):
    """Start a child and kill it at the command; push 'b' as soon as the child waits."""
    pid: list[int] = []
    is_known = threading.Event()

    def kill():
        is_known.wait()
        os.kill(pid[0], signal.SIGKILL)

    proxy.inject(number, when, kill)
    pid.append(children.start(proxy.url, priority))
    is_known.set()
    if number > 8 or (number, when) == (8, "after"):
        eventually(lambda: is_waiting(raw))
        queue.push(CHANNEL, [("b", {"id": 2})], priorities={"b": priority})
    assert children.exit_code(pid[0]) == -signal.SIGKILL


@pytest.mark.parametrize("priority", [0, pytest.param(5, marks=pytest.mark.once)])
@pytest.mark.parametrize(
    ("number", "when"), WINDOWS, ids=[f"{when}-{n}-{COMMANDS[n - 1]}" for n, when in WINDOWS]
)
def test_a_kill_loses_no_message_and_leaves_no_key(  # noqa: PLR0917
    children,
    proxy,
    queue,
    raw,
    expire,
    number,
    when,
    priority,
):
    warm_up(queue)
    live_until_killed(children, proxy, queue, raw, number=number, when=when, priority=priority)
    eventually(lambda: raw.info("clients")["blocked_clients"] == 0)

    expire()
    wanted = reconcile(queue, priority)

    assert drain(queue) == wanted
    assert statuses(queue) == {"a": "done", "b": "done"}
    assert (queue.waiting(CHANNEL), queue.running(CHANNEL)) == (0, 0)
    assert not [*raw.scan_iter("q:running:*"), *raw.scan_iter("q:x:priority:*")]
    assert raw.zcard("q:x:leases") == 0
    assert all(raw.ttl(f"q:item:{name}") > 0 for name in "ab")


def test_a_child_that_is_not_killed_finishes(children, proxy, queue, raw):
    pid = children.start(proxy.url)
    eventually(lambda: is_waiting(raw))
    queue.push(CHANNEL, [("b", {"id": 2})])

    assert children.exit_code(pid) == 0
    assert statuses(queue) == {"a": "done", "b": "done"}


def test_a_process_killed_while_it_waits_loses_no_message(children, server, queue, raw):
    pid = children.start(server.url)
    eventually(lambda: is_waiting(raw))

    os.kill(pid, signal.SIGKILL)

    assert children.exit_code(pid) == -signal.SIGKILL
    eventually(lambda: not is_waiting(raw))
    queue.push(CHANNEL, [("b", 1)])
    assert drain(queue) == ["b"]
