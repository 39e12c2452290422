"""The admin in a browser, with a worker behind it, until Ctrl-C."""

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
    """Serve until interrupted or something ends; the exit code."""
    folder = Path(os.environ["EXAMPLE_VAR"])
    environment.set_up()
    with ExitStack() as started:
        started.enter_context(environment.running_redis(folder))
        _fill()
        programs = [worker("web worker", folder), _server(port, folder)]
        for program in programs:
            started.enter_context(program)
        while not _answers(port) and not any(program.is_over for program in programs):
            time.sleep(0.05)
        if not any(program.is_over for program in programs):
            print(_welcome(port), flush=True)
        return _until_over(programs)


def _server(port: int, folder: Path) -> Program:
    return Program("server", folder / "web.log", "runserver", "--noreload", f"127.0.0.1:{port}")


def _fill() -> None:
    """Hand in the samples if nobody has handed in anything."""
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


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _welcome(port: int) -> str:
    user = (
        f"user {environment.USER}, password {environment.PASSWORD}; "
        if environment.is_our_database()
        else ""
    )
    return f"http://127.0.0.1:{port}/admin/   {user}Ctrl-C stops everything"


def _until_over(programs: Sequence[Program]) -> int:
    try:
        while True:
            for program in programs:
                if program.is_over:
                    print(f"{program.name} has ended:\n{program.log_tail()}")
                    return 1
            time.sleep(0.2)
    except KeyboardInterrupt:
        print("\nstopping ...", flush=True)
        return 0
