"""The frames of a traceback: those of the project are shown, those of libraries are folded."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from django.conf import settings

#: Frames of the project that are shown, the last ones.
MAX_FRAMES = 20
#: If there is none of the project, this many of the others are shown.
_LAST_FRAMES = 3
#: Of the code of a frame.
_MAX_LINES, _MAX_WIDTH = 5, 500
_FRAME = re.compile(
    r'^ {2}File "(?P<path>[^"\n]{1,1000})", line (?P<line>\d{1,9})(?:, in (?P<name>.{1,200}))?$'
)
_PACKAGES = ("site-packages", "dist-packages")
_OWN_FOLDER = str(Path(__file__).resolve().parents[2])
_STANDARD_LIBRARY = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})


@dataclass(slots=True)
class Frame:
    """A line of the code that an error has come through."""

    path: str
    line: int
    name: str
    #: The line of code, if the traceback has it.
    code: list[str] = field(default_factory=list)
    #: The library that it belongs to; empty for one of the project.
    library: str = ""


@dataclass(frozen=True, slots=True)
class FrameGroup:
    """A frame of the project, or consecutive ones of a library (``library`` is its name)."""

    library: str
    frames: list[Frame]


def frame_groups(traceback: str) -> list[FrameGroup]:
    """The frames of the last error in ``traceback``, from the outermost to the innermost.

    If there is none of the project, the last three count as its own.
    """
    frames = _frames(traceback)
    if frames and all(frame.library for frame in frames):
        for frame in frames[-_LAST_FRAMES:]:
            frame.library = ""
    groups: list[FrameGroup] = []
    for library, run in groupby(frames, key=lambda frame: frame.library):
        in_run = list(run)
        groups += (
            [FrameGroup(library, in_run)] if library else [FrameGroup("", [f]) for f in in_run]
        )
    return groups[-MAX_FRAMES * 2 :]


def _frames(traceback: str) -> list[Frame]:
    frames: list[Frame] = []
    for line in traceback.splitlines():
        if (match := _FRAME.match(line)) is not None:
            frames.append(_frame(match))
        elif line.startswith("Traceback (most recent call last)"):
            frames = []  # an earlier error, which led to the last one
        elif frames and line.startswith("    ") and not _is_marker(line):
            frames[-1].code.append(line[4 : 4 + _MAX_WIDTH])
            del frames[-1].code[_MAX_LINES:]
    return frames


def _is_marker(line: str) -> bool:
    return not line.strip(" ^~")


def _frame(match: re.Match[str]) -> Frame:
    path = match["path"]
    library = _library_of(path)
    return Frame(_short(path), int(match["line"]), match["name"] or "", library=library)


def _library_of(path: str) -> str:
    """The library that the file ``path`` is part of; empty for one of the project."""
    parts = path.replace("\\", "/").split("/")
    for folder in _PACKAGES:
        if folder in parts[:-1]:
            return parts[parts.index(folder) + 1].removesuffix(".py")
    if path.startswith(_OWN_FOLDER):
        return Path(_OWN_FOLDER).name
    if path.startswith("<frozen "):
        return path.removeprefix("<frozen ").rstrip(">").partition(".")[0]
    for folder in _STANDARD_LIBRARY:
        if folder and path.startswith(f"{folder}/"):
            return path.removeprefix(f"{folder}/").partition("/")[0].removesuffix(".py")
    is_elsewhere = _base() is not None and not path.startswith(f"{_base()}/")
    return parts[-1].removesuffix(".py") if is_elsewhere else ""


def _short(path: str) -> str:
    """``path`` below the folder of the project, or of the libraries."""
    for folder in _folders(path):
        if path.startswith(f"{folder}/"):
            return path.removeprefix(f"{folder}/")
    return path


def _folders(path: str) -> Iterator[str]:
    for name in _PACKAGES:
        head, separator, _tail = path.rpartition(f"/{name}/")
        if separator:
            yield f"{head}/{name}"
    yield from (folder for folder in _STANDARD_LIBRARY if folder)
    if (base := _base()) is not None:
        yield base
    yield str(Path(_OWN_FOLDER).parent)


def _base() -> str | None:
    base = getattr(settings, "BASE_DIR", None)
    return None if base is None else str(base).rstrip("/")
