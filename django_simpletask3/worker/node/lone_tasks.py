"""Tasks that run alone: how a process asks its supervisor for that, and how they are started."""

from __future__ import annotations

import json
import os
import select
import time
from contextlib import suppress
from typing import NamedTuple

from ...execution.start import start_one
from ...ledger.task_row import table_model, write_database
from ...models.task import SimpleTask
from ..leases import Leases
from ..pipeline import ModelPipeline

_READ_BYTES = 65_536
_PAUSE_SECONDS = 0.05


class LoneTask(NamedTuple):
    """A task by the label of its model, its database, and its key as text.

    ``sequence`` is the number of its events when the process was asked for.
    """

    label: str
    using: str
    key: str
    sequence: int


class LoneRequests:
    """A pipe from the processes of a node to their supervisor. Make it before the fork."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def fileno(self) -> int:
        """The end that is readable while there are requests."""
        return self._reader

    def ask(self, task: SimpleTask) -> bool:
        """Ask for a process of its own for ``task``; False if its key is too long for the pipe.

        The supervisor may ignore the request while another task runs alone: ask again.
        """
        key = table_model(type(task))._meta.pk.value_to_string(task)
        request = LoneTask(type(task)._meta.label, write_database(task), key, task.sequence)
        line = json.dumps(request).encode() + b"\n"
        if len(line) > select.PIPE_BUF:
            return False
        with suppress(BlockingIOError):  # the pipe is full
            os.write(self._writer, line)
        return True

    def read(self) -> list[LoneTask]:
        """Remove and return the requests."""
        try:
            lines = os.read(self._reader, _READ_BYTES).splitlines(keepends=True)
        except BlockingIOError:
            return []
        # A request that was cut in two is repeated.
        return [_parse(line) for line in lines if line[:1] == b"[" and line[-1:] == b"\n"]

    def close(self) -> None:
        """Close both ends."""
        os.close(self._reader)
        os.close(self._writer)


def _parse(line: bytes) -> LoneTask:
    return LoneTask(*json.loads(line))


class LoneFetcher:
    """Takes the place of a ``Fetcher`` in a process that runs one task and ends."""

    def __init__(self, pipeline: ModelPipeline, leases: Leases, task: LoneTask) -> None:
        self._pipeline = pipeline
        self._leases = leases
        self._task: LoneTask | None = task

    def step(self) -> float:
        """Start the task; the seconds to pause."""
        if self._task is None:
            self._pipeline.empty_at = time.monotonic()
            return _PAUSE_SECONDS
        pipeline, task = self._pipeline, self._task
        runs = start_one(
            pipeline.model, task.using, task.key, worker=pipeline.worker, lease=pipeline.lease
        )
        self._leases.add(runs, pipeline)
        pipeline.accept(runs)
        self._task = None
        return 0.0

    def return_messages(self) -> None:
        """It claims no messages."""

    def stop_waiting(self) -> None:
        """It never waits for messages."""
