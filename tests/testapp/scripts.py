"""What a ``Scripted`` task can do: one function per word, taking the step's own arguments.

A script is one step or a list of them. A step is an object: ``do`` names the function, the rest
are its arguments; ``attempt`` limits it to one attempt. The value of the last step is the result.

    [{"do": "touch", "path": "started"}, {"do": "wait", "path": "go"}, {"do": "value", "value": 3}]
"""

import builtins
import ctypes
import datetime
import decimal
import gc
import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django_simpletask3 import signals
from tests.eventually import eventually


def play(script: Any, attempt: int) -> Any:
    """Do the steps in turn; the value of the last one."""
    value = None
    for step in script if isinstance(script, list) else [script]:
        arguments = dict(step)
        word, only = arguments.pop("do"), arguments.pop("attempt", attempt)
        if only == attempt:
            value = WORDS[word](**arguments)
    return value


def value(value: Any = None) -> Any:
    return value


def fail(error: str = "ValueError", message: str = "as written") -> None:
    raise getattr(builtins, error)(message)


def fail_undecodable() -> None:
    """An exception whose text and arguments are bytes that no codec reads."""
    b"\xff\xfe\x81".decode("utf-8")


def fail_unprintable() -> None:
    """An exception that raises when it is asked for its text."""
    raise UnprintableError


def exit_python(code: Any = 3) -> None:
    sys.exit(code)


def interrupt() -> None:
    raise KeyboardInterrupt


def kill(number: int = signal.SIGKILL) -> None:
    """End the whole process that runs the body."""
    os.kill(os.getpid(), number)
    wait_for_ever()


def exit_process(code: int = 9) -> None:
    """Leave without cleaning up, as a crash in C code does."""
    os._exit(code)


def tell_garbage() -> int:
    """How many objects the garbage collector does not look at."""
    return gc.get_freeze_count()


def touch(path: str) -> None:
    """Tell the test that the body is here."""
    Path(path).touch()


def append(path: str, text: str = "run") -> None:
    """One line per execution, so that executions can be counted."""
    line = f"{text} {os.getpid()}\n".encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, line)
    os.close(descriptor)


def wait(path: str, timeout: float = 60.0) -> None:
    """Run until the test makes the file."""
    eventually(Path(path).exists, timeout=timeout)


def wait_for_ever() -> None:
    eventually(lambda: False, timeout=3600.0)


def refuse_to_end() -> None:
    """Go on whatever is raised here."""
    while True:
        try:
            wait_for_ever()
        except Exception:
            continue


def exit_on(signal: str) -> None:
    """From now on a receiver of ``signal`` in this process leaves Python."""
    getattr(signals, signal).connect(lambda **_: sys.exit(3), weak=False)


def wait_on(signal: str, path: str) -> None:
    """From now on a receiver of ``signal`` in this process waits until the test makes the file."""
    getattr(signals, signal).connect(lambda **_: wait(path), weak=False)


def end_thread(name: str) -> None:
    """End another thread of this process when it next does something."""
    [thread] = [thread for thread in threading.enumerate() if thread.name == name]
    ident, error = ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, error)


def weird(kind: str = "object") -> Any:
    """A result that JSON has no word for."""
    return WEIRD[kind]()


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class UnrepresentableResult:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def _cyclic() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


def _deep() -> list[Any]:
    pit: list[Any] = []
    for _ in range(100_000):
        pit = [pit]
    return pit


WEIRD: dict[str, Callable[[], Any]] = {
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

WORDS: dict[str, Callable[..., Any]] = {
    "value": value,
    "raise": fail,
    "raise undecodable": fail_undecodable,
    "raise unprintable": fail_unprintable,
    "exit": exit_python,
    "interrupt": interrupt,
    "kill": kill,
    "exit process": exit_process,
    "touch": touch,
    "append": append,
    "tell garbage": tell_garbage,
    "wait": wait,
    "wait for ever": wait_for_ever,
    "refuse to end": refuse_to_end,
    "exit on": exit_on,
    "wait on": wait_on,
    "end thread": end_thread,
    "weird": weird,
}
