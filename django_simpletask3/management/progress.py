"""One line on a terminal that says how far a long command has come."""

from __future__ import annotations

from typing import TextIO

_WIDTH = 30


class Progress:
    """A bar on ``stream``, rewritten as the work goes on; nothing where no terminal is."""

    def __init__(self, stream: TextIO, total: int, unit: str = "tasks") -> None:
        self._stream, self._total, self._unit = stream, total, unit
        self._done = 0
        self._is_shown = stream.isatty()

    def add(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        share = min(1.0, self._done / self._total) if self._total else 1.0
        bar = ("#" * round(share * _WIDTH)).ljust(_WIDTH)
        self._show(f"[{bar}] {share:4.0%}  {self._done} {self._unit}")

    def clear(self) -> None:
        """Take the bar away, so that something else can be written."""
        self._show("\x1b[2K")

    def _show(self, text: str) -> None:
        if self._is_shown:
            self._stream.write(f"\r{text}\r" if text.startswith("\x1b") else f"\r{text}")
            self._stream.flush()
