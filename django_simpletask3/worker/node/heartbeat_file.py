"""The liveness file: rewritten while a node is well, for probes on the same machine."""

from __future__ import annotations

import json
import os
import time
import uuid
from dataclasses import asdict
from pathlib import Path

from .status import Node

_WRITE_SECONDS = 2.0
_MAX_SIZE = 1 << 20


class LivenessFile:
    """Replaces ``path`` atomically every two seconds while the node is well."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # In a folder that others can write, they must not guess the name and put a link there.
        self._new = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        self._next = 0.0

    def write(self, node: Node) -> None:
        """Rewrite the file if two seconds have passed and the node is well. Raises OSError."""
        if time.monotonic() < self._next or not node.is_well:
            return
        self._next = time.monotonic() + _WRITE_SECONDS
        written = {"time": time.time(), "monotonic": time.monotonic()}
        content = {**written, "pid": os.getpid(), **asdict(node)}
        self._new.unlink(missing_ok=True)
        with self._new.open("x") as file:
            json.dump(content, file)
        self._new.replace(self._path)

    def remove(self) -> None:
        """Remove the file: the node has stopped in good order."""
        self._new.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)


def check_file(path: Path, max_age: float) -> tuple[dict[str, object], list[str]]:
    """The content of the file at ``path``, and its problems, a sentence each."""
    try:
        content = json.loads(_read(path))
        age = _age(float(content["time"]), float(content["monotonic"]))
    except FileNotFoundError:
        return {}, [f"There is no {path}: the server does not run, or has just started."]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return {}, [f"{path} cannot be read as a heartbeat: {error}"]
    if not age <= max_age:  # also not a number
        return content, [
            f"The last heartbeat in {path} is {age:.0f} s old; {max_age:g} s are allowed."
        ]
    return content, []


def _age(written: float, monotonic: float) -> float:
    """Seconds since the file was written: the wall clock may have been set meanwhile."""
    age = time.monotonic() - monotonic
    return age if age >= 0 else time.time() - written  # negative: the machine has restarted


def _read(path: Path) -> str:
    """The text of the file at ``path``. Raises OSError for a link: a node writes none."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
        return file.read(_MAX_SIZE)
