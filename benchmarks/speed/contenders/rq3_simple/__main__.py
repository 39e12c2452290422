"""RQ with SimpleWorker, which its README allows for jobs of a few milliseconds."""

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.speed.contenders import peer
from benchmarks.speed.contenders.rq3 import __main__ as rq3


def worker(threads: int, processes: int) -> tuple[Sequence[str], int]:
    command, copies = rq3.worker(threads, processes)
    return (*command, "--worker-class", "rq.worker.SimpleWorker"), copies


PEER = replace(rq3.PEER, name="RQ, SimpleWorker", worker=worker)

if __name__ == "__main__":
    peer.run(PEER)
