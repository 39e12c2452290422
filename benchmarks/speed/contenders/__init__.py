"""Those who are measured: one module each, run by the interpreter of an environment of its own.

``python -m benchmarks.speed.contenders.<name> VERB [NUMBER]``, in the root of the repository. The
last line of the output is the answer, as JSON.

describe    name, versions, variants, what is stored per task, and ``finished_sql``: a SELECT of the
            number of stored outcomes, if a database has them
prepare     make the tables in an empty database
enqueue N   20 tasks as a warm-up, then N one by one: {"seconds": ..., "tasks": N}
bulk N      the same by the bulk call; "seconds" is null if there is none
worker      be the worker that the documentation recommends, until SIGTERM
finished    {"finished": the number of stored outcomes}
latency N   for each of N tasks the milliseconds until its body began: {"latencies_ms": [...]}

Environment: BENCH_DATABASE (postgres://user@host:port/name, mysql://..., sqlite:///path),
BENCH_REDIS (redis://...), BENCH_TRACE (the file in which each body leaves its mark), BENCH_VARIANT
("plain", or "row": with a row of the project's own that holds status, result and times, written by
hand), BENCH_THREADS, BENCH_PROCESSES, BENCH_BODY (noop, sleep:SECONDS, cpu:SECONDS).
"""
