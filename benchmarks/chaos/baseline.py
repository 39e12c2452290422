"""Kill workers of the stock client, for comparison.

``python -m benchmarks.chaos.baseline URL FOLDER SEED COUNT``. Workers pop, work and acknowledge,
and are killed at random moments, while the client's own ``recovery()`` runs; it also runs
afterwards. Prints how many messages were lost or executed again, as JSON.
"""

import contextlib
import json
import logging
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import redis
from simqcore import SimQ

CHANNEL = "stock"
PREFIX = "stock-baseline"
WORKERS = 3
TIMEOUT = 2  # the stock client's running_timeout
PASSES = 6  # of recovery, after the last kill


def stock_client(url: str) -> Any:
    """Return a stock client."""
    logging.disable(logging.CRITICAL)
    return SimQ(redis.Redis.from_url(url), prefix=PREFIX, running_timeout=TIMEOUT)


def work(url: str, log_path: Path, seed: int) -> None:
    """Pop, work and acknowledge until killed."""
    stock, rng = stock_client(url), random.Random(seed)
    descriptor = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    while True:
        message = stock.pop(CHANNEL, timeout=1)
        if message:
            time.sleep(rng.uniform(0.0, 0.005))
            os.write(descriptor, f"{message['id']}\n".encode())
            stock.ack(message["id"], True)


def fork(url: str, log_path: Path, seed: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        work(url, log_path, seed)
    finally:
        os._exit(1)


class Baseline:
    """A run over ``count`` messages."""

    def __init__(self, url: str, folder: Path, seed: int, count: int) -> None:
        self.url, self.count = url, count
        self.random = random.Random(seed)
        self.stock = stock_client(url)
        self.log_path = folder / "baseline-log"
        self.kills = 0
        self.workers: list[int] = []

    def run(self) -> dict[str, int]:
        for number in range(self.count):
            self.stock.lpush(CHANNEL, {"number": number}, id=f"m{number}")
        self.workers = [self._fork() for _ in range(WORKERS)]
        try:
            self._kill_while_there_is_work()
            self._heal()
        finally:
            for pid in self.workers:
                self._kill(pid)
        return self._check_result()

    def _fork(self) -> int:
        return fork(self.url, self.log_path, self.random.randrange(2**32))

    def _kill(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _kill_while_there_is_work(self) -> None:
        recovered_at = time.monotonic()
        while self.stock.db.llen(self.stock.get_mq_key(CHANNEL)):
            time.sleep(self.random.expovariate(30.0))
            index = self.random.randrange(WORKERS)
            self._kill(self.workers[index])
            self.kills += 1
            self.workers[index] = self._fork()
            if time.monotonic() - recovered_at > TIMEOUT / 2:
                self.stock.recovery(CHANNEL)
                recovered_at = time.monotonic()

    def _heal(self) -> None:
        for _ in range(PASSES):
            time.sleep(TIMEOUT / 2)
            self.stock.recovery(CHANNEL)
        time.sleep(TIMEOUT)

    def _check_result(self) -> dict[str, int]:
        done = Counter(self.log_path.read_text(encoding="ascii").split())
        db = self.stock.db
        items = list(db.scan_iter(f"{PREFIX}:item:*", count=1000))
        return {
            "kills": self.kills,
            "messages": self.count,
            "lost": self.count - len(done),
            "executed_again": sum(done.values()) - len(done),
            "leaked_running_keys": len(list(db.scan_iter(f"{PREFIX}:running:*", count=1000))),
            "items_without_ttl": sum(db.ttl(key) == -1 for key in items),
        }


def main() -> None:
    url, folder, seed, count = sys.argv[1:]
    print(json.dumps(Baseline(url, Path(folder), int(seed), int(count)).run()))


if __name__ == "__main__":
    main()
