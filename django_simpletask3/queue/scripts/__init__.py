"""The Lua scripts: one file for each atomic operation on the queue."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import redis

_WITHOUT_LIBRARY = {"rights"}


@dataclass(frozen=True, slots=True)
class Script:
    """The text of a script and its SHA-1, by which Redis caches it."""

    text: str
    sha: str

    def run(self, client: Any, keys: list[str], args: list[Any]) -> Any:
        """Run the script in one round trip; in two if Redis has not cached it."""
        arguments = [len(keys), *keys, *args]
        try:
            return client.execute_command("EVALSHA", self.sha, *arguments)
        except redis.exceptions.NoScriptError:
            return client.execute_command("EVAL", self.text, *arguments)


@cache
def script(name: str) -> Script:
    """The script ``name``.lua, with library.lua prepended unless it is to run without."""
    folder = files(__name__)
    names = (name,) if name in _WITHOUT_LIBRARY else ("library", name)
    parts = [(folder / f"{part}.lua").read_text("utf-8") for part in names]
    text = "\n".join(parts)
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
