"""End task functions whose time is over: past their time limit, or canceled by force."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..exceptions import StopReason, TaskStopped, TimeLimitExceeded
from ..execution.run import Run
from ..ledger.stop_signal import request_stop
from ..logs import get_logger
from ..models.task import SimpleTask
from .leases import Leases
from .watch.observed_clock import ObservedClock

_logger = get_logger(__name__)

#: Between two checks while tasks run, and while none runs: a limit shorter than that may be noticed
#: later. Without time limits there is less to notice: a function that is canceled by force.
_STEP_SECONDS, _IDLE_SECONDS, _UNLIMITED_IDLE_SECONDS = 0.1, 0.3, 0.9
_get_time_limit = getattr(SimpleTask.get_time_limit, "__func__")  # noqa: B009 - unknown to mypy
#: Seconds beyond the limit after which an exception is raised in a function that did not follow
#: ``should_stop``, and after which its process is replaced. An ``async def`` is cancelled, and
#: interrupted if that does not end it.
INTERRUPT_AFTER = 0.5
INTERRUPT_COROUTINE_AFTER = 2.0
GIVE_UP_AFTER = 3.0


class TimeLimits:
    """Watches the runs of a process; calls ``give_up`` with one that cannot be ended.

    Time in which the process is stopped does not count: no task has used it. The runs are tasks of
    ``models``.
    """

    def __init__(
        self, leases: Leases, give_up: Callable[[Run], None], models: Iterable[type[SimpleTask]]
    ) -> None:
        self._leases = leases
        self._give_up = give_up
        is_limited = any(_may_have_limit(model) for model in models)
        self._idle_seconds = _IDLE_SECONDS if is_limited else _UNLIMITED_IDLE_SECONDS
        self._interrupted: set[Run] = set()
        self._clock = ObservedClock()

    def step(self) -> float:
        """Check every run once; the seconds until the next check."""
        self._clock.tick()
        running = self._leases.running()
        self._interrupted.intersection_update(running)
        for run in running:
            if run.function_call.is_entered:
                self._check(run)
        return _STEP_SECONDS if running else self._idle_seconds

    def _check(self, run: Run) -> None:
        limit = run.task.get_time_limit()
        if run.ended_monotonic is not None:
            # The function has had its time to stop.
            over = INTERRUPT_AFTER + self._clock.seconds_since(run.ended_monotonic)
            self._enforce(run, over, TaskStopped)
        elif limit is not None:
            over = self._clock.seconds_since(run.started_monotonic) - limit
            if over >= 0:
                request_stop(run.task, StopReason.TIME_LIMIT)
            self._enforce(run, over, TimeLimitExceeded)

    def _enforce(self, run: Run, over: float, error: type[BaseException]) -> None:
        if over >= INTERRUPT_AFTER and run not in self._interrupted:
            self._interrupted.add(run)
            run.function_call.interrupt(error)
        if over >= INTERRUPT_COROUTINE_AFTER and run.function_call.is_cancelled:
            run.function_call.interrupt(error)
        if over >= GIVE_UP_AFTER and run.function_call.is_entered:
            label = run.task._meta.label
            _logger.error("task_function_not_interrupted model=%s pk=%s", label, run.task.pk)
            self._give_up(run)


def _may_have_limit(model: type[SimpleTask]) -> bool:
    is_overridden = getattr(model.get_time_limit, "__func__", None) is not _get_time_limit
    return is_overridden or model.get_time_limit() is not None
