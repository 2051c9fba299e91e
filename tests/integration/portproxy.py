"""A proxy in front of a port of this machine, whose subclasses say what does not pass."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, suppress
from types import TracebackType
from typing import Self


class PortProxy:
    """Listens while it is entered; each connection is one to the port, in threads of its own.

    Attributes
    ----------
    port
        Where it listens, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])

    def serve(self, client: socket.socket, server: socket.socket) -> None:
        """Pass on what the client sends, to the end, and begin to pass on what the server sends."""
        raise NotImplementedError

    def _accept(self) -> None:
        with suppress(OSError):  # it has been closed
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), closing(client), closing(socket.create_connection(("127.0.0.1", self._port))) as server:
            self.serve(client, server)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listening.close()
