"""Dramatiq: the verbs are those of ``peer``."""

from collections.abc import Sequence

from benchmarks.speed.contenders import peer


def enqueue(argument: peer.Argument) -> None:
    from benchmarks.speed.contenders.dramatiq2.tasks import noop

    noop.send(argument)


def group(arguments: Sequence[peer.Argument]) -> None:
    import dramatiq

    from benchmarks.speed.contenders.dramatiq2.tasks import noop

    dramatiq.group([noop.message(argument) for argument in arguments]).run()


def worker(threads: int, processes: int) -> tuple[Sequence[str], int]:
    size = ("--processes", str(processes), "--threads", str(threads))
    return peer.django_command("rundramatiq", *size), 1


PEER = peer.Peer(
    project="dramatiq2",
    name="Dramatiq",
    distributions=["dramatiq", "django-dramatiq", "redis"],
    stores="a row with status, message and the time of the last change, but no result",
    stores_with_row="Dramatiq stores nothing",
    enqueue=enqueue,
    bulk=group,
    worker=worker,
    finished_sql="SELECT count(*) FROM django_dramatiq_task WHERE status = 'done'",
)

if __name__ == "__main__":
    peer.run(PEER)
