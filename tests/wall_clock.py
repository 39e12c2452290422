"""A wall clock that a test sets, for processes that it starts; their steady clocks go on."""

import shutil
import struct
import subprocess
import sys
from pathlib import Path

from tests.conftest import missing

_SOURCE = Path(__file__).with_suffix(".c")


class WallClock:
    """The wall clock of every process that is started with ``environment``."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("gcc")
        if compiler is None or sys.platform != "linux":
            missing("gcc on Linux, which compiles a clock that can be set")
        library = folder / "wall_clock.so"
        options = ["-shared", "-fPIC", "-O1", "-o", str(library)]
        subprocess.run([str(compiler), *options, str(_SOURCE), "-ldl"], check=True)
        self._file = folder / "wall_clock"
        self._file.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK": str(self._file)}

    def set_ahead(self, seconds: int) -> None:
        """Set the clock: ahead of this machine's by ``seconds``."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("q", seconds))
