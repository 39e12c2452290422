"""Huey: the verbs are those of ``peer``."""

from collections.abc import Sequence

from benchmarks.speed.contenders import peer


def enqueue(argument: peer.Argument) -> None:
    from benchmarks.speed.contenders.huey3.tasks import noop

    noop(argument)


def enqueue_many(arguments: Sequence[peer.Argument]) -> None:
    from benchmarks.speed.contenders.huey3.tasks import noop

    noop.map(arguments)


def worker(threads: int, processes: int) -> tuple[Sequence[str], int]:
    size = ("--worker-type", "thread", "--workers", str(threads))
    return peer.django_command("run_huey", *size, "--quiet"), processes


def count_finished() -> int:
    from huey.contrib.djhuey import HUEY

    return int(HUEY.storage.result_store_size())


PEER = peer.Peer(
    project="huey3",
    name="Huey",
    distributions=["huey", "redis"],
    stores="the result in Redis until it is read; no row, no status, no times",
    stores_with_row="Huey stores no result",
    enqueue=enqueue,
    bulk=enqueue_many,
    worker=worker,
    finished=count_finished,
)

if __name__ == "__main__":
    peer.run(PEER)
