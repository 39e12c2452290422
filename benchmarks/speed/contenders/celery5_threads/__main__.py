"""Celery with threads: the verbs are those of ``peer``."""

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.speed.contenders import peer
from benchmarks.speed.contenders.celery5 import __main__ as celery5


def worker(threads: int, processes: int) -> tuple[Sequence[str], int]:
    command, _ = celery5.worker(threads, 1)
    return (*command, "--pool", "threads"), processes


PEER = replace(celery5.PEER, settings="celery5_threads", name="Celery, threads", worker=worker)

if __name__ == "__main__":
    peer.run(PEER)
