"""A wall clock that a test sets, for processes that it starts; their steady clocks go on."""

import shutil
import struct
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

#: Redis does not end the wait of a client by a clock that stands still.
GOES_ON = {"WALL_CLOCK_GOES_ON": "1"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SOURCE = Path(__file__).with_suffix(".c")


class WallClock:
    """The wall clock of every process that is started with ``environment``."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("gcc")
        from tests.conftest import missing

        if compiler is None or sys.platform != "linux":
            missing("gcc on Linux, which compiles a clock that can be set")
        library = folder / "wall_clock.so"
        options = ["-shared", "-fPIC", "-O1", "-o", str(library)]
        subprocess.run([str(compiler), *options, str(_SOURCE), "-ldl"], check=True)
        self._file = folder / "wall_clock"
        self._file.write_bytes(bytes(24))
        self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK": str(self._file)}

    def set_ahead(self, seconds: int) -> None:
        """Set the clock: ahead of this machine's by ``seconds``."""
        write_setting(self._file, ahead=seconds)

    def stop_at(self, moment: datetime) -> None:
        """Let the clock stand still at ``moment``."""
        write_setting(self._file, still=moment)


def write_setting(file: Path, *, ahead: int = 0, still: datetime | None = None) -> None:
    """Set the clock of the processes that read ``file``; a process may set its own.

    ``still`` is when it stands still. Of a process with the variable GOES_ON it goes on from there,
    ten times as slow.
    """
    microseconds = 0 if still is None else (still - _EPOCH) // timedelta(microseconds=1)
    with file.open("r+b") as opened:
        opened.write(struct.pack("qqq", ahead, microseconds, time.monotonic_ns() // 1000))
