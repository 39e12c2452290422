"""The raw limit of PostgreSQL and Redis: plain programs that write what our tasks write.

They write the same rows and the same three events into the same tables, without Django, digests,
recovery and checks, in as few statements, commits and round trips as possible. Run with the verbs
of a contender. The variant "push" also pushes a message for each task; "plain" writes the row and
its event only.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.speed import bodies, timing

BATCH = 200
WAIT = 5
#: Longer than a benchmark, so that no worker recovers these tasks.
LEASE = timedelta(days=1)
WAITING, ARRIVED, RUNNING = "limits:waiting", "limits:arrived", "limits:running"
DIGEST = "0" * 64
EVENT = (
    "INSERT INTO bench_noopevent (task_id, sequence, kind, from_status, to_status, attempt,"
    " event_time, worker, actor, reason, data, digest)"
)
ROW = (
    "INSERT INTO bench_noop (status, attempt, sequence, digest, add_time, mod_time, priority,"
    " worker, check_at, text)"
)
ENQUEUE = f"""
WITH inserted AS ({ROW} VALUES (0, 0, 1, %(digest)s, %(now)s, %(now)s, 0, '', %(until)s, %(text)s)
  RETURNING id)
{EVENT} SELECT id, 1, 'enqueue', NULL, 0, 0, %(now)s, '', '', '', '{{}}', %(digest)s FROM inserted
RETURNING task_id
"""
BULK = f"""
WITH inserted AS ({ROW} SELECT 0, 0, 1, digest, %(now)s, %(now)s, 0, '', %(until)s, text
  FROM unnest(%(texts)s::text[], %(digests)s::text[]) AS given (text, digest) RETURNING id, digest)
{EVENT} SELECT id, 1, 'enqueue', NULL, 0, 0, %(now)s, '', '', '', '{{}}', digest FROM inserted
RETURNING task_id
"""
# Not by status: the index of a status contains many dead entries of rows that have left it.
START = f"""
WITH given AS (SELECT * FROM unnest(%(ids)s::bigint[], %(digests)s::text[], %(data)s::text[])
  AS input (id, digest, data)),
updated AS (UPDATE bench_noop AS row SET status = 10, attempt = attempt + 1,
    sequence = sequence + 1, digest = given.digest, start_time = %(now)s, mod_time = %(now)s,
    worker = %(worker)s, check_at = %(until)s
  FROM given WHERE row.id = given.id AND row.id = ANY(%(ids)s::bigint[]) AND row.sequence = 1
  RETURNING row.id, row.sequence, row.attempt, row.text, row.digest, given.data),
logged AS ({EVENT} SELECT id, sequence, 'start', 0, 10, attempt, %(now)s, %(worker)s, '', '', data,
    digest FROM updated)
SELECT id, attempt, text FROM updated
"""
FINISH = f"""
WITH given AS (SELECT * FROM unnest(%(ids)s::bigint[], %(attempts)s::int[], %(digests)s::text[],
  %(data)s::text[]) AS input (id, attempt, digest, data)),
updated AS (UPDATE bench_noop AS row SET status = 20, sequence = sequence + 1,
    digest = given.digest, done_time = %(now)s, result_time = %(now)s, mod_time = %(now)s,
    success = true, result_data = 'null', check_at = NULL
  FROM given WHERE row.id = given.id AND row.id = ANY(%(ids)s::bigint[]) AND row.sequence = 2
    AND row.attempt = given.attempt
  RETURNING row.id, row.sequence, row.attempt, row.digest, given.data)
{EVENT} SELECT id, sequence, 'ack', 10, 20, attempt, %(now)s, %(worker)s, '', '', data, digest
  FROM updated
"""
#: Claim waiting tasks and store the end of their leases.
CLAIM = """
local ids = redis.call('RPOP', KEYS[2], ARGV[1]) or {}
for _, id in ipairs(redis.call('RPOP', KEYS[1], ARGV[1] - #ids) or {}) do table.insert(ids, id) end
for _, id in ipairs(ids) do redis.call('HSET', KEYS[3], id, ARGV[2]) end
return ids
"""


def describe() -> dict[str, Any]:
    import psycopg
    import redis

    return {
        "name": "raw limit",
        "versions": {"psycopg": psycopg.__version__, "redis-py": redis.__version__},
        "variants": ["plain", "push"],
        "phases": {"push": ["enqueue"]},
        "stores": "the same row and the same three events, each committed when it happens",
        "needs_redis": True,
        "needs_database": True,
        "finished_sql": "SELECT count(*) FROM bench_noop WHERE status >= 20",
    }


def prepare() -> dict[str, Any]:
    from benchmarks.speed.contenders import ours

    return ours.prepare()


def enqueue(count: int) -> dict[str, Any]:
    push = _redis().lpush if os.environ.get("BENCH_VARIANT") == "push" else None
    with _session() as session:
        return timing.time_each(lambda number: _enqueue_one(session, push, number), count)


def _enqueue_one(session: Any, push: Callable[..., Any] | None, number: int) -> None:
    now = datetime.now(UTC)
    figures = {"now": now, "until": now + LEASE, "digest": DIGEST, "text": f"task {number}"}
    (pk,) = session.execute(ENQUEUE, figures).fetchone()
    if push is not None:
        push(WAITING, pk)


def bulk(count: int) -> dict[str, Any]:
    pushes = _redis().pipeline(transaction=False)
    with _session() as session:
        return timing.time_batches(lambda size: _enqueue_many(session, pushes, size), count)


def _enqueue_many(session: Any, pushes: Any, size: int) -> None:
    now = datetime.now(UTC)
    texts = [f"task {number}" for number in range(size)]
    figures = {"now": now, "until": now + LEASE, "digests": [DIGEST] * size, "texts": texts}
    for (pk,) in session.execute(BULK, figures):
        pushes.lpush(WAITING, pk)
    pushes.execute()


def worker() -> None:
    processes = int(os.environ.get("BENCH_PROCESSES", "1"))
    threads = int(os.environ.get("BENCH_THREADS", "10"))
    shares = [threads // processes + (n < threads % processes) for n in range(processes)]
    children = []
    for share in shares[1:]:
        if (pid := os.fork()) == 0:
            _Worker(share).run()
        children.append(pid)
    _Worker(shares[0], children).run()


class _Worker:
    """One thread fetches and starts tasks, some run task functions, one commits outcomes."""

    def __init__(self, threads: int, children: Sequence[int] = ()) -> None:
        self.threads = threads
        self.children = children
        self.name = f"limits:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.inbox: queue.SimpleQueue[tuple[int, int, str]] = queue.SimpleQueue()
        self.outbox: queue.SimpleQueue[tuple[int, int, float]] = queue.SimpleQueue()
        self.room = threading.Semaphore(BATCH)

    def run(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        threading.excepthook = _exit_on_error
        targets = [self._fetch, self._commit, *[self._perform] * self.threads]
        for target in targets:
            threading.Thread(target=target, daemon=True).start()
        while True:
            signal.pause()

    def _stop(self) -> None:
        for pid in self.children:
            os.kill(pid, signal.SIGTERM)
        os._exit(0)

    def _fetch(self) -> None:
        client = _redis()
        claim = client.register_script(CLAIM)
        with _session() as session:
            while True:
                # Wait for room for one task, then claim as many as there is room for.
                free = _acquire(self.room, BATCH)
                until = str(time.time() + 300)
                ids = claim(keys=[WAITING, ARRIVED, RUNNING], args=[free, until])
                if ids:
                    self._start(session, [int(pk) for pk in ids])
                for _ in range(free - len(ids)):
                    self.room.release()
                if not ids:
                    client.blmove(WAITING, ARRIVED, WAIT, "RIGHT", "LEFT")

    def _start(self, session: Any, ids: list[int]) -> None:
        now = datetime.now(UTC)
        claims = [json.dumps({"claim": str(uuid.uuid4())}) for _ in ids]
        figures = {"ids": ids, "digests": [DIGEST] * len(ids), "data": claims, "worker": self.name}
        for run in session.execute(START, {**figures, "now": now, "until": now + LEASE}):
            self.inbox.put(run)

    def _perform(self) -> None:
        while True:
            pk, attempt, _ = self.inbox.get()
            began = time.monotonic()
            bodies.perform()
            self.outbox.put((pk, attempt, time.monotonic() - began))
            self.room.release()

    def _commit(self) -> None:
        client = _redis()
        with _session() as session:
            while True:
                done = [self.outbox.get(), *_drain(self.outbox)]
                ids, attempts, seconds = zip(*done, strict=True)
                figures: dict[str, Any] = {"ids": list(ids), "attempts": list(attempts)}
                figures["data"] = [json.dumps({"seconds": round(taken, 6)}) for taken in seconds]
                figures |= {"digests": [DIGEST] * len(ids), "now": datetime.now(UTC)}
                figures["worker"] = self.name
                session.execute(FINISH, figures)
                client.hdel(RUNNING, *ids)


def _exit_on_error(figures: Any) -> None:
    traceback.print_exception(figures.exc_value)
    os._exit(1)


def _acquire(room: threading.Semaphore, limit: int) -> int:
    room.acquire()
    free = 1
    while free < limit and room.acquire(blocking=False):
        free += 1
    return free


def _drain(outbox: queue.SimpleQueue[Any]) -> Iterator[Any]:
    for _ in range(BATCH - 1):
        try:
            yield outbox.get_nowait()
        except queue.Empty:
            return


def finished() -> dict[str, Any]:
    with _session() as session:
        return {"finished": session.execute(describe()["finished_sql"]).fetchone()[0]}


def latency(count: int) -> dict[str, Any]:
    push = _redis().lpush
    with _session() as session:
        return timing.measure_latencies(lambda number: _enqueue_one(session, push, number), count)


def _session() -> Any:
    import psycopg

    return psycopg.connect(os.environ["BENCH_DATABASE"], autocommit=True)


def _redis() -> Any:
    import redis

    return redis.Redis.from_url(os.environ["BENCH_REDIS"], socket_timeout=2 * WAIT)


VERBS: dict[str, Callable[..., Any]] = {
    verb.__name__: verb for verb in (describe, prepare, enqueue, bulk, worker, finished, latency)
}

if __name__ == "__main__":
    print(json.dumps(VERBS[sys.argv[1]](*map(int, sys.argv[2:]))))
