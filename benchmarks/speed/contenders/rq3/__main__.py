"""RQ: the verbs are those of ``peer``.

Its README advises the default worker for production, and the one that does not fork, which
rq3_simple is, for jobs of a few milliseconds.
"""

from collections.abc import Sequence

from benchmarks.speed.contenders import peer


def enqueue(argument: peer.Argument) -> None:
    from benchmarks.speed.contenders.rq3.tasks import noop

    noop.delay(argument)


def enqueue_many(arguments: Sequence[peer.Argument]) -> None:
    from django_rq import get_queue
    from rq import Queue

    from benchmarks.speed.contenders.rq3.tasks import RESULT_TTL, noop

    get_queue().enqueue_many(
        [Queue.prepare_data(noop, (argument,), result_ttl=RESULT_TTL) for argument in arguments]
    )


def worker(threads: int, processes: int) -> tuple[Sequence[str], int]:
    size = ("--num-workers", str(threads * processes), "--verbosity", "0")
    return peer.django_command("rqworker-pool", "default", *size), 1


def count_finished() -> int:
    from django_rq import get_queue

    return int(get_queue().finished_job_registry.count)


PEER = peer.Peer(
    project="rq3",
    name="RQ",
    distributions=["rq", "django-rq", "redis"],
    stores="a hash with status, times and result in Redis, for 500 s; no row",
    stores_with_row="RQ deletes the job at its end",
    enqueue=enqueue,
    bulk=enqueue_many,
    worker=worker,
    finished=count_finished,
)

if __name__ == "__main__":
    peer.run(PEER)
