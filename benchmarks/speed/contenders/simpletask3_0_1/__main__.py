"""django-simpletask3 0.1.3: the verbs are those of ``peer``.

It has no variant row: the task is the row. The settings say how many threads there are.
"""

from collections.abc import Sequence

from benchmarks.speed.contenders import peer


def enqueue(argument: peer.Argument) -> None:
    from benchmarks.speed.contenders.simpletask3_0_1.models import Noop

    Noop(text=argument).save()


def worker(_: int, processes: int) -> tuple[Sequence[str], int]:
    return peer.django_command("django-simpletask3-server"), processes


PEER = peer.Peer(
    project="simpletask3_0_1",
    name="django-simpletask3 0.1",
    distributions=["django-simpletask3", "simqcore", "redis"],
    stores="a row with status, times, result and error, updated at the end (its start is not)",
    stores_with_row="",
    enqueue=enqueue,
    worker=worker,
    finished_sql="SELECT count(*) FROM simpletask3_0_1_noop WHERE status = 20",
    variants=("plain",),
)

if __name__ == "__main__":
    peer.run(PEER)
