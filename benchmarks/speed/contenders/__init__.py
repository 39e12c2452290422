"""The contenders: a module each, run by the interpreter of its own environment.

``python -m benchmarks.speed.contenders.<name> VERB [NUMBER]``, in the root of the repository. The
last line of the output is the answer, as JSON.

describe    name, versions, variants, what a task stores, and ``finished_sql``: a SELECT of the
            number of stored outcomes, if a database has them
prepare     create the tables in an empty database
enqueue N   20 tasks as a warm-up, then N one by one: {"seconds": ..., "tasks": N}
bulk N      the same by the bulk call; "seconds" is null if there is none
worker      run the worker that the documentation recommends, until SIGTERM
turns       read lines, ``CASE NUMBER``, and answer each: the seconds and processor seconds of that
            many tasks ("enqueue", "atomic", "threads", "bulk"), or how long each of them took until
            its outcome was committed ("outcomes")
finished    {"finished": the number of stored outcomes}
latency N   milliseconds until each of N task functions started: {"latencies_ms": [...]}

Environment: BENCH_DATABASE (postgres://user@host:port/name, mysql://..., sqlite:///path),
BENCH_REDIS (redis://...), BENCH_TRACE (the file of the start times), BENCH_VARIANT
("plain", or "row": the task function also writes a row with status, result and times),
BENCH_PREPARED (on PostgreSQL: prepared statements), BENCH_THREADS, BENCH_PROCESSES, BENCH_BODY
(noop, sleep:SECONDS, cpu:SECONDS).
"""
