"""A process that handles one message from push to acknowledgement per line of input."""

from __future__ import annotations

import os
import sys

from django_simpletask3.queue import Queue

CHANNEL = "shop:app.invoice"


def live(url: str, priority: str) -> None:
    """Push, claim, return and finish 'a'; then wait for the next message and finish it."""
    queue = Queue.from_url(url, prefix="q")
    queue.push(CHANNEL, [("a", {"id": 1})], priorities={"a": int(priority)})
    held = queue.claim(CHANNEL, worker="child", lease=60)
    queue.heartbeat("child", held, lease=60)
    queue.ret_many(held)
    queue.ack_many(queue.claim(CHANNEL, worker="child", lease=60))
    queue.ack_many(queue.claim(CHANNEL, worker="child", lease=60, timeout=20))


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            live(*line.split())
            os._exit(0)
        print("started", pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print("ended", pid, os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
