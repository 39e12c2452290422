"""The working folder of the demo, its database and its Redis server."""

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


class DemoFailed(Exception):
    """The demo did not do what it should show."""


@contextmanager
def exit_on_failure() -> Iterator[None]:
    """Exit with a message if the block raises DemoFailed or QueueUnavailable."""
    from django_simpletask3.exceptions import QueueUnavailable

    try:
        yield
    except (DemoFailed, QueueUnavailable) as failure:
        sys.exit(f"FAILED: {failure}")


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock ``folder`` during the block, so that no other demo uses it.

    Exits with a message if it is locked or holds other files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / LOCK).exists():
        sys.exit(f"{folder} has files that the demo did not write; name another folder.")
    with (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"Another demo is running in {folder}; end it first, or name another folder.")
        yield


def is_demo_database() -> bool:
    """Whether the database is a file of the demo, and not one that DATABASE_URL names."""
    return not os.environ.get("DATABASE_URL")


def clear(folder: Path) -> None:
    """Delete the files of an earlier demo, unless DATABASE_URL names the database."""
    from django_simpletask3.queue import embedded

    embedded.stop(folder / "redis")
    if not is_demo_database():
        return
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def set_up() -> None:
    """Set up Django and the tables, and in the demo's own database a superuser."""
    import django

    django.setup()
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    users = get_user_model().objects
    # Never create a user with a well-known password in a database of the user's own.
    if is_demo_database() and not users.filter(username=USER).exists():
        users.create_superuser(USER, password=PASSWORD)


@contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """Run Redis during the block and yield its address; stop it if the demo started it.

    Raises QueueUnavailable if it does not answer.
    """
    from django_simpletask3.conf.options import options
    from django_simpletask3.queue import embedded, get_queue, redact

    url = options.simq_redis_url
    is_embedded = url.startswith("embedded://")
    try:
        get_queue().check_server()
        yield f"embedded, in {display_path(folder / 'redis')}" if is_embedded else redact(url)
    finally:
        if is_embedded:
            embedded.stop(folder / "redis")


def display_path(path: Path) -> str:
    """``path``, relative to the current directory if it is below it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
