"""django-ox: the verbs are those of ``peer``."""

from collections.abc import Sequence

from benchmarks.speed.contenders import peer


def enqueue(argument: peer.Argument) -> None:
    from benchmarks.speed.contenders.ox.tasks import noop

    noop.enqueue(argument)


def enqueue_many(arguments: Sequence[peer.Argument]) -> None:
    from django_ox.bulk import enqueue_many

    from benchmarks.speed.contenders.ox.tasks import noop

    enqueue_many(noop, [((argument,), {}) for argument in arguments])


def worker(threads: int, processes: int) -> tuple[Sequence[str], int]:
    size = ("--concurrency", str(threads), "--processes", str(processes))
    return peer.django_command("ox_worker", *size, "--verbosity", "0"), 1


PEER = peer.Peer(
    project="ox",
    name="django-ox",
    distributions=["django-ox", "django-tasks", "psycopg"],
    stores="a row with status, times, arguments, result and errors",
    stores_with_row="django-ox keeps its row, too",
    enqueue=enqueue,
    bulk=enqueue_many,
    worker=worker,
    finished_sql="SELECT count(*) FROM django_ox_oxtask WHERE status = 'SUCCESSFUL'",
    needs_redis=False,
    transactional=True,
)

if __name__ == "__main__":
    peer.run(PEER)
