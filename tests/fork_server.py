"""``python -m tests.fork_server``: commands of Django in forks of a process that has set it up.

A command is a process of its own, in a session of its own, with an environment of its own; only the
second that importing takes is saved. The standard input of the fork server is a socket: it gets
requests with the descriptor of the output, and answers with a line for each process that starts or
ends.
"""

import io
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

import django

_MAX_REQUEST = 1 << 18
_MAX_DESCRIPTOR = 256

Request = dict[str, Any]


def main() -> None:
    django.setup()
    for name in ("tests.urls", "django_simpletask3.management.commands.django-simpletask3-server"):
        import_module(name)
    if (request := _serve(socket.socket(fileno=0))) is not None:
        _run(request)


def _serve(asker: socket.socket) -> Request | None:
    """Start what is asked for; returns the request in each fork, None at the end."""
    wakeup, alarm = socket.socketpair()
    alarm.setblocking(False)
    signal.set_wakeup_fd(alarm.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    for source in (asker, wakeup):
        selector.register(source, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is wakeup:
                wakeup.recv(4096)
                _report_ended(asker)
                continue
            text, descriptors, _, _ = socket.recv_fds(asker, _MAX_REQUEST, 1)
            if not text:
                return None
            if (pid := os.fork()) == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored if nohup runs the tests
                selector.close()
                _redirect(descriptors[0], [wakeup, alarm, asker])
                return json.loads(text)
            os.close(descriptors[0])
            _answer(asker, started=pid)


def _report_ended(asker: socket.socket) -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            _answer(asker, ended=ended[0], code=os.waitstatus_to_exitcode(ended[1]))


def _answer(asker: socket.socket, **answer: int) -> None:
    asker.sendall(json.dumps(answer).encode() + b"\n")


def _redirect(output: int, sockets: list[socket.socket]) -> None:
    """Read from nowhere, write to ``output``, and close what belongs to the fork server."""
    null = os.open(os.devnull, os.O_RDONLY)
    for there, here in ((null, 0), (output, 1), (output, 2)):
        os.dup2(there, here)
    for left in sockets:
        left.detach()
    os.closerange(3, _MAX_DESCRIPTOR)


def _run(request: Request) -> None:
    """Be ``python -m django`` with the arguments and the environment of ``request``."""
    from django_simpletask3.conf.options import clear_cached_values

    os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    clear_cached_values()
    is_unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(
            open(number, "wb", 0 if is_unbuffered else -1, closefd=False),  # noqa: SIM115
            encoding="utf-8",
            errors=errors,
            line_buffering=number == 2,
            write_through=is_unbuffered,
        )
        for number, errors in ((1, "strict"), (2, "backslashreplace"))
    )
    sys.argv = ["django", *request["arguments"]]
    runpy.run_module("django", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
