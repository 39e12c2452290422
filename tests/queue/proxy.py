"""A TCP proxy in front of a Redis socket that can lose the answer to a command it has passed on."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path

COMMANDS = re.compile(rb"EVAL|BLMOVE")


class Proxy:
    """Listens on a port of its own and passes on what it hears, unless it is told otherwise."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.lost = 0
        self._word: bytes | None = None
        self._strike: tuple[int, str, Callable[[], object]] = (0, "", lambda: None)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}"

    def lose(self, word: str) -> None:
        """The next command that contains ``word`` is carried out, and its answer lost."""
        self._word = word.encode()

    def strike(self, number: int, when: str, blow: Callable[[], object]) -> None:
        """``blow()`` 'before' the ``number``-th command is passed on, or 'after' it is answered."""
        self._strike = (number, when, blow)

    def close(self) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self.target))
                self._sockets += [client, server]
                cut = threading.Event()
                for work in (self._requests, self._answers):
                    threading.Thread(target=work, args=(client, server, cut), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self._word is not None and self._word in data:
                    self._word = None
                    cut.set()
                if COMMANDS.search(data):
                    self._count(cut)
                if not cut.is_set() or self._strike[1] != "before":
                    server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)

    def _count(self, cut: threading.Event) -> None:
        number, when, blow = self._strike
        self._strike = (number - 1, when, blow)
        if number == 1:
            cut.set()
            if when == "before":
                blow()

    def _answers(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if cut.is_set():
                    self.lost += 1
                    if self._strike[1] == "after":
                        self._strike[2]()
                    client.shutdown(socket.SHUT_RDWR)
                    server.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)
