"""Run tasks as soon as the transaction that enqueues them commits."""

from __future__ import annotations

import traceback
from contextlib import ExitStack
from typing import Any, Self

from asgiref.sync import sync_to_async

from ..signals import task_transitioned
from ..states import EVENTS, QueueEffect
from .autocommit import outside_of_transaction
from .decorators import FunctionDecorator
from .run import Runner
from .selection import Key, Selection

#: What events do to the queue after which a task waits in it.
_QUEUED = (QueueEffect.PUSH, QueueEffect.TAKE_OVER)


class eager_tasks(FunctionDecorator):  # noqa: N801 - used as override_settings() is
    """A context manager, and a decorator of functions: tasks run when they are saved.

    Within it, a task runs in this process as soon as the transaction commits that enqueued or reset
    it, if it is due; by the same code, and with the same rows and events, as in a node. A task that
    a task function enqueues runs when that function has ended. Tasks that were saved before, and
    those that become due later, are left to ``run_tasks()``. Redis is not used.

    Within a test's transaction, the outermost ``atomic()`` of the code under test is a savepoint:
    its end is the commit, and its ``on_commit()`` hooks run then. A task that is saved outside of
    ``atomic()`` runs at once. Instances that were saved are not refreshed. Enter it in the test or
    in ``setUp()``; in a coroutine, use ``async with``.

    What a task function raises is recorded, and not raised. Any other error is raised at the end of
    the block: TooManyRuns after ``limit`` tasks for one commit, or that of a receiver that refuses
    a start. If the block itself raises, its exception has that error as a note.
    """

    def __init__(self, *, limit: int = 1000) -> None:
        self._limit = limit
        #: What the blocks of this object have entered: it may be used again within its block.
        self._entered: list[ExitStack] = []
        self._error: BaseException | None = None

    def another(self) -> Self:
        return type(self)(limit=self._limit)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(outside_of_transaction())
            if not self._entered:
                task_transitioned.connect(self._follow, weak=False)
                stack.callback(task_transitioned.disconnect, self._follow)
            self._entered.append(stack.pop_all())
        return self

    def __exit__(self, *exception: Any) -> None:
        error, self._error = self._error, None
        self._entered.pop().close()
        if error is None:
            return
        if exception[1] is None:
            raise error
        lines = traceback.format_exception(error)
        exception[1].add_note(f"eager_tasks() could not run a task:\n{''.join(lines)}")

    async def __aenter__(self) -> Self:
        return await sync_to_async(self.__enter__)()

    async def __aexit__(self, *exception: Any) -> None:
        await sync_to_async(self.__exit__)(*exception)

    def _follow(self, task: Any, event: Any, **_: Any) -> None:
        """Run the task if it waits now: a receiver of the signal that follows each commit."""
        if EVENTS[event.kind].queue not in _QUEUED:
            return
        key = Key.of_event(task, event)
        if (runner := Runner.current.get()) is not None:
            runner.include(key)
            return
        try:
            selection = Selection(())
            selection.include(key)
            with outside_of_transaction():  # also of databases that have not committed yet
                Runner(selection, limit=self._limit).run()
        except Exception as error:
            self._error = self._error or error  # Django would only log it
