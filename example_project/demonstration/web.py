"""Serve the admin, with a worker, until Ctrl-C."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from . import environment
from .processes import Program, worker


def run(port: int) -> int:
    """Serve until interrupted or until a process exits; return the exit code."""
    folder = Path(os.environ["EXAMPLE_VAR"])
    environment.set_up()
    with ExitStack() as started:
        started.enter_context(environment.running_redis(folder))
        _enqueue_samples()
        programs = [worker("web worker", folder), _server(port, folder)]
        for program in programs:
            started.enter_context(program)
        while not _is_listening(port) and not any(program.has_exited for program in programs):
            time.sleep(0.05)
        if not any(program.has_exited for program in programs):
            print(_welcome_text(port), flush=True)
        return _wait_for_exit(programs)


def _server(port: int, folder: Path) -> Program:
    return Program("server", folder / "web.log", "runserver", "--noreload", f"127.0.0.1:{port}")


def _enqueue_samples() -> None:
    """Enqueue the samples if the database has no pictures."""
    from pictures.models import Picture

    from django_simpletask3.context import task_context

    from . import samples

    if Picture.objects.exists():
        return
    with task_context(actor="demo"):
        pictures = samples.upload_pictures()
        samples.enqueue_contact_sheet("All pictures", pictures)
        samples.enqueue_order_imports(
            *sorted(path.name for path in (samples.SAMPLES / "orders").iterdir())
        )


def _is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _welcome_text(port: int) -> str:
    user = ""
    if environment.is_demo_database():
        user = f"user {environment.USER}, password {environment.PASSWORD}; "
    return f"http://127.0.0.1:{port}/admin/   {user}Ctrl-C stops everything"


def _wait_for_exit(programs: Sequence[Program]) -> int:
    try:
        while True:
            for program in programs:
                if program.has_exited:
                    print(f"{program.name} has ended:\n{program.log_tail()}")
                    return 1
            time.sleep(0.2)
    except KeyboardInterrupt:
        print("\nstopping ...", flush=True)
        return 0
