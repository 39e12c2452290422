"""Huey: ``verbs`` tells what it answers."""

from collections.abc import Sequence

from benchmarks.speed.contenders import verbs


def enqueue(argument: verbs.Argument) -> None:
    from benchmarks.speed.contenders.huey3.tasks import noop

    noop(argument)


def mapped(arguments: Sequence[verbs.Argument]) -> None:
    from benchmarks.speed.contenders.huey3.tasks import noop

    noop.map(arguments)


def worker(threads: int, processes: int) -> tuple[Sequence[str], int]:
    size = ("--worker-type", "thread", "--workers", str(threads))
    return verbs.django_command("run_huey", *size, "--quiet"), processes


def finished() -> int:
    from huey.contrib.djhuey import HUEY

    return int(HUEY.storage.result_store_size())


PEER = verbs.Peer(
    project="huey3",
    name="Huey",
    distributions=["huey", "redis"],
    stores="the result in Redis until it is read; no row, no status, no times",
    keeps="Huey stores no result",
    enqueue=enqueue,
    bulk=mapped,
    worker=worker,
    finished=finished,
)

if __name__ == "__main__":
    verbs.run(PEER)
