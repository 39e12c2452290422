"""Django Q2: the verbs are those of ``peer``.

The settings say how many workers there are, which are processes.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from benchmarks.speed.contenders import peer

_TASK = "benchmarks.speed.contenders.django_q2_.tasks.noop"


def enqueue(argument: peer.Argument) -> None:
    from django_q.tasks import async_task

    async_task(_TASK, argument, broker=_broker(), save=not peer.has_row())


@cache
def _broker() -> Any:
    """Return the shared broker; without it, each call opens a connection to Redis."""
    from django_q.brokers import get_broker

    return get_broker()


def worker(*_: int) -> tuple[Sequence[str], int]:
    return peer.django_command("qcluster", "--verbosity", "0"), 1


PEER = peer.Peer(
    project="django_q2_",
    name="Django Q2",
    distributions=["django-q2", "redis"],
    stores="a row with success, times, arguments and result, inserted at the end",
    stores_with_row="Django Q2 saves no success",
    enqueue=enqueue,
    worker=worker,
    finished_sql="SELECT count(*) FROM django_q_task WHERE success",
)

if __name__ == "__main__":
    peer.run(PEER)
