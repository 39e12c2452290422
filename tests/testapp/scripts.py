"""The steps of a ``Scripted`` task: one function per step, called with its arguments.

A script is one step or a list of them. A step is an object: ``do`` names the function, the rest
are its arguments; ``attempt`` limits it to one attempt. The value of the last step is the result.

    [{"do": "touch", "path": "started"}, {"do": "wait", "path": "go"}, {"do": "value", "value": 3}]
"""

import asyncio
import builtins
import contextvars
import ctypes
import datetime
import decimal
import gc
import multiprocessing
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connection

from django_simpletask3 import exceptions, signals
from django_simpletask3.context import current_task
from django_simpletask3.exceptions import TaskStopped
from django_simpletask3.models import SimpleTask
from tests.eventually import eventually


def run_script(script: Any, attempt: int) -> Any:
    """Run the steps in order; return the value of the last one."""
    value = None
    for step in script if isinstance(script, list) else [script]:
        arguments = dict(step)
        name, step_attempt = arguments.pop("do"), arguments.pop("attempt", attempt)
        if step_attempt == attempt:
            value = STEPS[name](**arguments)
    return value


def value(value: Any = None) -> Any:
    return value


def fail(error: str = "ValueError", message: str = "as written") -> None:
    raise getattr(builtins, error)(message)


def ask(request: str, after: float | None = None) -> None:
    """Raise Retry, Snooze or Cancel."""
    details = {} if after is None else {"after": after}
    raise getattr(exceptions, request)("as written", **details)


def fail_undecodable() -> None:
    """Raise an exception whose arguments are bytes that are not UTF-8."""
    b"\xff\xfe\x81".decode("utf-8")


def fail_unprintable() -> None:
    """Raise an exception whose ``__str__`` and ``__repr__`` raise."""
    raise UnprintableError


def exit_python(code: Any = 3) -> None:
    sys.exit(code)


def interrupt() -> None:
    raise KeyboardInterrupt


def kill(number: int = signal.SIGKILL) -> None:
    """Send a signal to the process that runs the task function, and wait for it."""
    os.kill(os.getpid(), number)
    wait_for_ever()


def exit_process(code: int = 9) -> None:
    """Exit without cleanup, like a crash in C code."""
    os._exit(code)


def hold_interpreter() -> None:
    """Compute in C without an end, as a catastrophic regular expression does."""
    re.match(r"(a+)+$", "a" * 60 + "b")


def sleep_in_c(seconds: int) -> None:
    """Wait in C for some seconds, and keep the interpreter meanwhile."""
    ctypes.PyDLL(None).sleep(seconds)


def exit_in_c(code: int = 9) -> None:
    """Exit as C code does, past everything that Python could notice."""
    ctypes.CDLL(None)._exit(code)


def segfault() -> None:
    """Read memory that does not exist, in this thread."""
    ctypes.string_at(0)


def work(seconds: float) -> None:
    """Take some time, in which other threads go on."""
    threading.Event().wait(seconds)


def block() -> None:
    """Wait for ever, without looking again."""
    threading.Event().wait()


def count_frozen_objects() -> int:
    """The number of objects that the garbage collector ignores."""
    return gc.get_freeze_count()


def list_modules() -> list[str]:
    """The modules that the process has imported."""
    return sorted(sys.modules)


def touch(path: str) -> None:
    """Create a file, by which the test knows that the task function reached this step."""
    Path(path).touch()


def append(path: str, text: str = "run") -> None:
    """Append one line per execution, so that the test can count executions."""
    line = f"{text} {os.getpid()}\n".encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, line)
    os.close(descriptor)


def enqueue() -> None:
    """Enqueue a task of another model."""
    from .models import Ledger

    Ledger.objects.create()


def wait(path: str, timeout: float = 60.0) -> None:
    """Wait until the test creates the file."""
    eventually(Path(path).exists, timeout=timeout)


def wait_for_ever() -> None:
    eventually(lambda: False, timeout=3600.0)


def work_until_stopped(path: str) -> None:
    """Look whether to stop until that is so; create the file when it ends."""
    try:
        # A column of the task may hide its method.
        eventually(partial(SimpleTask.check_stop, _running()), timeout=3600.0)
    finally:
        touch(path)


async def work_until_stopped_awaiting(path: str) -> None:
    """As ``work_until_stopped``, in a coroutine."""
    try:
        while True:
            _running().check_stop()
            await asyncio.sleep(0.02)
    finally:
        touch(path)


def leave_with_worker(path: str) -> None:
    """Wait until the worker is stopping, and give the task back then."""
    eventually(lambda: _running().is_worker_stopping, timeout=3600.0)
    touch(path)
    raise TaskStopped


def rewrite(script: Any) -> None:
    """Assign another script to the task, which is saved with its outcome."""
    _running().script = script


def _running() -> Any:
    task = current_task()
    assert task is not None
    return task


def report(done: float, total: float | None = None, message: str = "") -> None:
    """Report progress."""
    _running().progress(done, total, message)


def ignore_exceptions() -> None:
    """Keep running despite exceptions that are raised in this thread."""
    while True:
        try:
            wait_for_ever()
        except Exception:
            continue


def ignore_everything() -> None:
    """Keep running whatever is raised in this thread."""
    while True:
        try:
            wait_for_ever()
        except BaseException:
            continue


def exit_on(signal: str) -> None:
    """Connect a receiver of ``signal`` that calls ``sys.exit`` in this process."""
    getattr(signals, signal).connect(lambda **_: sys.exit(3), weak=False)


def wait_on(signal: str, path: str) -> None:
    """Connect a receiver of ``signal`` that waits until the test creates the file."""
    getattr(signals, signal).connect(lambda **_: wait(path), weak=False)


def end_thread(name: str) -> None:
    """Raise SystemExit in another thread of this process."""
    [thread] = [thread for thread in threading.enumerate() if thread.name == name]
    ident, error = ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, error)


def start_processes(path: str) -> None:
    """Start a program and a fork that end by themselves only in an hour; write their numbers."""
    fork = multiprocessing.get_context("fork").Process(target=wait_for_ever)
    fork.start()
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    Path(path).write_text(f"{fork.pid}\n{program.pid}\n")


def terminate_fork() -> int | None:
    """The exit code of a fork that was asked to end."""
    fork = multiprocessing.get_context("fork").Process(target=wait_for_ever)
    fork.start()
    fork.terminate()
    fork.join(10)
    code = fork.exitcode
    fork.kill()
    return code


def ignores_interrupts() -> str:
    """Whether a program that is started here ignores SIGINT."""
    code = "import signal; print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"
    return subprocess.check_output([sys.executable, "-c", code], text=True).strip()


def current_keys() -> dict[str, Any]:
    """The keys of the tasks that are current here, in threads, a coroutine and a fork."""
    results: queue.Queue[Any] = queue.Queue()
    copied = contextvars.copy_context()
    for name, target in {"plain": _current_key, "copied": lambda: copied.run(_current_key)}.items():
        thread = threading.Thread(target=lambda n=name, t=target: results.put((n, t())))
        thread.start()
        thread.join(10)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    fork = context.Process(target=lambda: sender.send(_current_key()))
    fork.start()
    keys = {
        "function": _current_key(),
        "coroutine": asyncio.run(_current_key_in_coroutine()),
        "fork": receiver.recv() if receiver.poll(10) else None,
    }
    fork.join(10)
    return {**keys, **dict([results.get(timeout=10), results.get(timeout=10)])}


def _current_key() -> Any:
    task = current_task()
    return task and task.pk


async def _current_key_in_coroutine() -> list[Any]:
    return [_current_key(), await asyncio.to_thread(_current_key)]


def once(name: str, kill_at: str, path: str, atomic: bool = False, waits: bool = False) -> Any:
    """Record a step that creates a customer; at one point, once, the process is killed.

    ``path`` is the file by which the next attempt knows that it was. With ``waits`` it waits there
    for ever instead.
    """
    end = wait_for_ever if waits else kill
    task: Any = current_task()
    is_first = not Path(path).exists()
    point = kill_at if is_first else ""

    def step() -> str:
        _end_here(point == "before", path, end)
        Customer.objects.create(name=name)
        _end_here(point == "inside", path, end)
        connection.execute_wrappers.append(kill_around_statement)
        return name

    def kill_around_statement(execute: Any, sql: str, *args: Any) -> Any:
        _end_here(point == "not recorded", path, end)
        answer = execute(sql, *args)
        _end_here(point == "not committed" and "INSERT" in sql, path, end)
        return answer

    from .models import Customer

    try:
        recorded = task.once(name, step, atomic=atomic)
    finally:
        if kill_around_statement in connection.execute_wrappers:
            connection.execute_wrappers.remove(kill_around_statement)
    _end_here(point == "recorded", path, end)
    return recorded


def _end_here(is_here: bool, path: str, end: Callable[[], None]) -> None:
    if is_here:
        Path(path).touch()
        end()


def kill_node_at(kind: str, sent: str) -> None:
    """Connect a receiver of the signal ``sent`` that kills the whole node at this event."""
    key = _running().pk

    def receive(task: Any, event: Any, **_: Any) -> None:
        if (event.task_id, event.kind) == (key, kind):
            os.killpg(os.getpgrp(), signal.SIGKILL)

    getattr(signals, sent).connect(receive, weak=False)


def unusual_value(kind: str = "object") -> Any:
    """A result that JSON cannot represent, or hardly."""
    return UNUSUAL_VALUES[kind]()


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class UnrepresentableResult:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def _cyclic() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


def _deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


UNUSUAL_VALUES: dict[str, Callable[[], Any]] = {
    "object": object,
    "class": lambda: UnrepresentableResult,
    "unrepresentable": UnrepresentableResult,
    "cyclic": _cyclic,
    "deep": _deep,
    "nan": lambda: float("nan"),
    "infinity": lambda: float("-inf"),
    "huge": lambda: "x" * 10_000_000,
    "huge int": lambda: 10**5000,
    "bytes": lambda: b"\x00\xff",
    "surrogate": lambda: "\ud800",
    "nul": lambda: "a\x00b",
    "set": lambda: {1, 2},
    "tuple keys": lambda: {(1, 2): 3},
    "decimal": lambda: decimal.Decimal("1.10"),
    "timedelta": lambda: datetime.timedelta(days=1),
    "datetime": lambda: datetime.datetime(2024, 2, 29, tzinfo=datetime.UTC),
    "uuid": lambda: uuid.UUID(int=7),
    "exception": lambda: ValueError("returned, not raised"),
    "generator": lambda: (number for number in range(3)),
}


async def _block() -> None:
    wait_for_ever()


#: Ways in which a coroutine does not end: at an await, in its own thread, in a synchronous part.
COROUTINES: dict[str, Callable[[], Awaitable[None]]] = {
    "sleep": lambda: asyncio.sleep(3600),
    "block": _block,
    "synchronous part": sync_to_async(wait_for_ever),
}

STEPS: dict[str, Callable[..., Any]] = {
    "value": value,
    "enqueue": enqueue,
    "list modules": list_modules,
    "raise": fail,
    "ask": ask,
    "raise undecodable": fail_undecodable,
    "raise unprintable": fail_unprintable,
    "exit": exit_python,
    "interrupt": interrupt,
    "kill": kill,
    "exit process": exit_process,
    "touch": touch,
    "append": append,
    "hold interpreter": hold_interpreter,
    "sleep in c": sleep_in_c,
    "segfault": segfault,
    "exit in c": exit_in_c,
    "block": block,
    "work": work,
    "count frozen objects": count_frozen_objects,
    "wait": wait,
    "wait for ever": wait_for_ever,
    "work until stopped": work_until_stopped,
    "work until stopped, awaiting": work_until_stopped_awaiting,
    "leave with worker": leave_with_worker,
    "rewrite": rewrite,
    "report": report,
    "ignore exceptions": ignore_exceptions,
    "ignore everything": ignore_everything,
    "coroutine": lambda way: COROUTINES[way](),
    "exit on": exit_on,
    "wait on": wait_on,
    "end thread": end_thread,
    "unusual value": unusual_value,
    "start processes": start_processes,
    "terminate fork": terminate_fork,
    "ignores interrupts": ignores_interrupts,
    "current keys": current_keys,
    "once": once,
    "kill node at": kill_node_at,
}
