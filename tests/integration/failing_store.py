"""A proxy before an object store that refuses its n-th PUT, and every one after it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from tests.integration.portproxy import PortProxy

_REFUSAL = b"<Error><Code>InternalError</Code><Message>We are sorry</Message></Error>"
_ANSWER = b"HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(_REFUSAL), _REFUSAL)


class FailingStore(PortProxy):
    """Passes on the bytes of each connection to a port of this machine, and back.

    A client asks, waits for the answer, and asks again: what comes first in its turn is the line that names the method.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._puts = self._first_bad = 0
        self._lock = threading.Lock()
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def fail_from(self, number: int) -> None:
        """The PUT of this number, counted from now, fails, and all that follow; 0: none."""
        with self._lock:
            self._puts, self._first_bad = 0, number

    def _refuses(self) -> bool:
        with self._lock:
            self._puts += 1
            return 0 < self._first_bad <= self._puts

    def serve(self, client: socket.socket, server: socket.socket) -> None:
        """Pass on, but for what is refused."""
        threading.Thread(target=self._back, args=(server, client), daemon=True).start()
        while data := client.recv(1 << 16):
            if data.startswith(b"PUT ") and self._refuses():
                client.sendall(_ANSWER)
                client.shutdown(socket.SHUT_WR)
                while client.recv(1 << 16):  # the rest of what it sends: an answer must not meet a reset
                    pass
                return
            server.sendall(data)

    def _back(self, store: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := store.recv(1 << 16):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
