"""A progress bar for long commands."""

from __future__ import annotations

from typing import TextIO

_WIDTH = 30


class Progress:
    """A bar on ``stream``, rewritten in place; not shown unless ``stream`` is a terminal."""

    def __init__(self, stream: TextIO, total: int, unit: str = "tasks") -> None:
        self._stream, self._total, self._unit = stream, total, unit
        self.done = 0
        self._is_shown = stream.isatty()

    def add(self, count: int) -> None:
        """Advance the bar by ``count``."""
        self.show(self.done + count)

    def show(self, done: int) -> None:
        """Set the bar to ``done``."""
        self.done = done
        share = min(1.0, self.done / self._total) if self._total else 1.0
        bar = ("#" * round(share * _WIDTH)).ljust(_WIDTH)
        self._write(f"[{bar}] {share:4.0%}  {self.done} {self._unit}")

    def clear(self) -> None:
        """Remove the bar, so that other output can be written."""
        self._write("\x1b[2K")

    def _write(self, text: str) -> None:
        if self._is_shown:
            self._stream.write(f"\r{text}\r" if text.startswith("\x1b") else f"\r{text}")
            self._stream.flush()
