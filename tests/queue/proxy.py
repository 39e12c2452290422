"""A TCP proxy in front of a Redis socket that can lose the reply to a command."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path

COMMANDS = re.compile(rb"EVAL|BLMOVE")


class Proxy:
    """Listen on a port and forward commands and replies, except for injected faults."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.lost = 0
        self._word: bytes | None = None
        self._fault: tuple[int, str, Callable[[], object]] = (0, "", lambda: None)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}"

    def lose(self, word: str) -> None:
        """Execute the next command that contains ``word``, but lose its reply."""
        self._word = word.encode()

    def inject(self, number: int, when: str, fault: Callable[[], object]) -> None:
        """Call ``fault`` 'before' the ``number``-th command is forwarded or 'after' its reply."""
        self._fault = (number, when, fault)

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
                if not cut.is_set() or self._fault[1] != "before":
                    server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)

    def _count(self, cut: threading.Event) -> None:
        number, when, fault = self._fault
        self._fault = (number - 1, when, fault)
        if number == 1:
            cut.set()
            if when == "before":
                fault()

    def _answers(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if cut.is_set():
                    self.lost += 1
                    if self._fault[1] == "after":
                        self._fault[2]()
                    client.shutdown(socket.SHUT_RDWR)
                    server.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)
