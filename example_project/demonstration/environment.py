"""The folder a demonstration happens in, and the servers that must run."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = "demo.lock"
USER = PASSWORD = "admin"


class Failure(Exception):
    """What was promised did not happen."""


@contextmanager
def exit_on_failure() -> Iterator[None]:
    """Within the block, a failure that can be foreseen ends the program with its message."""
    from django_simpletask3.exceptions import QueueUnavailable

    try:
        yield
    except (Failure, QueueUnavailable) as failure:
        sys.exit(f"FAILED: {failure}")


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Within the block, ``folder`` belongs to this process and no other demonstration.

    Ends the program with a clear message if it cannot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / LOCK).exists():
        sys.exit(f"{folder} holds something that no demonstration has made; name another folder.")
    with (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(
                f"A demonstration is going on in {folder}; end it first, or name another folder."
            )
        yield


def is_our_database() -> bool:
    """Whether the database is a file of the demonstration, and not one that somebody named."""
    return not os.environ.get("DATABASE_URL")


def clear(folder: Path) -> None:
    """Remove what an earlier demonstration left, unless its database is elsewhere."""
    from django_simpletask3.queue import embedded

    embedded.stop(folder / "redis")
    if not is_our_database():
        return
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def set_up() -> None:
    """Django, the tables, and, in a database of our own, a user who may do everything."""
    import django

    django.setup()
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    users = get_user_model().objects
    # Nobody's database but ours gets a user whose password everybody knows.
    if is_our_database() and not users.filter(username=USER).exists():
        users.create_superuser(USER, password=PASSWORD)


@contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """Within the block, Redis runs; where. Only a server that we started is stopped.

    Raises QueueUnavailable if it does not answer.
    """
    from django_simpletask3.conf.options import options
    from django_simpletask3.queue import embedded, get_queue, redact

    url = options.simq_redis_url
    is_ours = url.startswith("embedded://")
    try:
        get_queue().check_server()
        yield f"embedded, in {display_path(folder / 'redis')}" if is_ours else redact(url)
    finally:
        if is_ours:
            embedded.stop(folder / "redis")


def display_path(path: Path) -> str:
    """``path`` as a reader in the current directory would name it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
