"""Procrastinate: the verbs are those of ``peer``.

A task that is not asynchronous runs in a thread of asyncio's, of which there are four more than
processors, whatever the concurrency is.
"""

from collections.abc import Sequence

from benchmarks.speed.contenders import peer


def enqueue(argument: peer.Argument) -> int:
    from benchmarks.speed.contenders.procrastinate3.tasks import noop

    pk: int = noop.defer(argument=argument)
    return pk


def batch_defer(arguments: Sequence[peer.Argument]) -> None:
    from benchmarks.speed.contenders.procrastinate3.tasks import noop

    noop.batch_defer(*({"argument": argument} for argument in arguments))


def worker(threads: int, processes: int) -> tuple[Sequence[str], int]:
    size = ("--concurrency", str(threads))
    return peer.django_command("procrastinate", "worker", *size), processes


PEER = peer.Peer(
    project="procrastinate3",
    name="Procrastinate",
    distributions=["procrastinate", "psycopg"],
    stores="a row with status and arguments, a row of events per change, but no result",
    stores_with_row="Procrastinate keeps the job and its events",
    enqueue=enqueue,
    bulk=batch_defer,
    worker=worker,
    finished_sql="SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'",
    outcome_sql="SELECT 1 FROM procrastinate_jobs WHERE id = %s AND status = 'succeeded'",
    needs_redis=False,
    transactional=True,
)

if __name__ == "__main__":
    peer.run(PEER)
