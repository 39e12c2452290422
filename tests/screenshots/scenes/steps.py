"""Steps in the lives of tasks, each at a time that is given."""

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings

from django_simpletask3.context import task_context
from django_simpletask3.db import clock
from django_simpletask3.dispatch.push import push
from django_simpletask3.exceptions import StaleTask
from django_simpletask3.queue import Message, get_queue
from django_simpletask3.recovery.service import recover_expired_leases
from django_simpletask3.states import EventKind
from django_simpletask3.transitions.writer import apply
from tests.screenshots.pages import NOW
from tests.wall_clock import write_setting

LEASE: float = settings.DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT
#: The full names of worker processes, by what the pages show of them.
WORKERS = {
    "app-1": "app-1:3980:8a2c2be3-51022",
    "app-2": "app-2:4417:8a2c2be3-67934",
    "app-3": "app-3:2051:8a2c2be3-60211",
    "app-4": "app-4:1877:8a2c2be3-44910",
}
_FRAME = '  File "{path}", line {line}, in {function}\n    {code}\n'
#: The messages that workers have claimed, by the ids of their tasks.
_claimed: dict[str, Message] = {}

#: Path, line, function and code of one line of a traceback.
Frame = tuple[str, int, str, str]


def at(time: str, day: int = NOW.day) -> datetime:
    """Set all clocks to ``time`` ("14:05:23.120") of that day of November."""
    hours, minutes, seconds = ([*time.split(":"), "0"])[:3]
    moment = NOW.replace(day=day, hour=int(hours), minute=int(minutes), second=0)
    return set_clock(moment + timedelta(seconds=float(seconds)))


def after(seconds: float) -> datetime:
    """Set all clocks ahead by ``seconds``."""
    return set_clock(clock.utc_now("default") + timedelta(seconds=seconds))


def set_clock(moment: datetime) -> datetime:
    write_setting(Path(os.environ["WALL_CLOCK"]), still=moment)
    return moment


def enqueue(task: Any, by: str = "", why: str = "") -> Any:
    with task_context(actor=by, reason=why):
        task.save()
    return task


def start(task: Any, node: str, lease: float = LEASE) -> Any:
    """A worker of ``node`` claims the oldest message, which is that of ``task``, and starts it."""
    worker, channel = WORKERS[node], task.get_event_channel()
    push([task])  # a retry is pushed once it is due
    [message] = get_queue().claim(channel, worker=worker, lease=LEASE)
    assert message.id == task.get_task_id(), f"{message.id} was claimed, not {task}"
    _claimed[message.id] = message
    task.refresh_from_db()
    data = {"claim": f"{len(_claimed):08x}-{task.pk:04x}-4000-8000-{task.attempt:012x}"}
    check_at = clock.after("default", lease)
    apply(task, EventKind.START, worker=worker, data=data, values={"check_at": check_at})
    return task


def renew(task: Any) -> Any:
    """The worker of ``task`` is alive at ``NOW``: the lease ends later."""
    type(task).objects.filter(pk=task.pk).update_managed(
        check_at=NOW + timedelta(seconds=LEASE - 2)
    )
    return task


def end(task: Any, kind: EventKind, **details: Any) -> Any:
    """The worker records an outcome, and settles the message."""
    apply(task, kind, worker=task.worker, **details)
    if message := _claimed.pop(task.get_task_id(), None):
        get_queue().ack_many([message], kind is EventKind.ACK)
    return task


def succeed(task: Any, result: Any = None) -> Any:
    return end(task, EventKind.ACK, result=result)


def fail(task: Any, error: str, frames: Sequence[Frame], why: str = "") -> Any:
    """``error`` is "Type: message"."""
    return end(task, EventKind.FAIL, error_data=error_data(error, frames), reason=why)


def retry(task: Any, error: str, frames: Sequence[Frame], seconds: float) -> Any:
    raised = error_data(error, frames)
    return end(
        task,
        EventKind.RETRY,
        error_data=raised,
        values={"run_after": clock.after("default", seconds)},
        data={"retry_in": seconds, "traceback": raised["traceback"]},
    )


def recover(*tasks: Any) -> None:
    """The leases of ``tasks`` have ended, as their claims in Redis: they are taken back."""
    get_queue().forget_many([_claimed.pop(task.get_task_id()) for task in tasks])
    recover_expired_leases()
    for task in tasks:
        task.refresh_from_db()


def come_back_late(task: Any, attempt: Any) -> None:
    """The worker of a lost attempt reports its result all the same: it is refused."""
    try:
        apply(attempt, EventKind.ACK, worker=attempt.worker, result="sent")
    except StaleTask:
        task.refresh_from_db()


def live(task: Any, *, node: str, waited: float, ran: float, result: Any = None) -> Any:
    """A task that waits, runs and succeeds."""
    enqueue(task)
    after(waited)
    start(task, node)
    after(ran)
    return succeed(task, result)


def error_data(error: str, frames: Sequence[Frame]) -> dict[str, str]:
    kind, _, message = error.partition(": ")
    lines = [
        _FRAME.format(path=path, line=line, function=function, code=code)
        for path, line, function, code in frames
    ]
    traceback = "Traceback (most recent call last):\n" + "".join(lines) + f"{error}\n"
    return {"type": kind, "message": message, "traceback": traceback}


def report(node: str, began: str, ago: float, models: dict[str, tuple[int, int]]) -> None:
    """A worker process reports, ``ago`` seconds before ``NOW``: threads and held tasks by model."""
    started, moment = at(began), set_clock(NOW - timedelta(seconds=ago))
    jobs = {"recover_expired_leases": {"ended": moment.timestamp() - 3.0}}
    loads = {name: {"threads": threads, "held": held} for name, (threads, held) in models.items()}
    status = {
        "node": node,
        "began": started.timestamp(),
        "time": moment.timestamp(),
        "models": loads,
        "counts": {},
        "jobs": jobs,
    }
    get_queue().report(WORKERS[node], status)
