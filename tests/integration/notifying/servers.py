"""Receivers to try channels with: real servers on loopback that answer as they are told."""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Posted:
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Hook:
    """A web server: what came, and how it answers: a status, and headers. ``hang``: not until it is freed; ``close``: it hangs up."""

    url: str = ""
    posted: list[Posted] = field(default_factory=list)
    answers: list[tuple[int | str, dict[str, str]]] = field(default_factory=list)
    body: bytes = b"ok"
    freed: threading.Event = field(default_factory=threading.Event)

    def next(self) -> tuple[int | str, dict[str, str]]:
        return self.answers.pop(0) if self.answers else (200, {})


@contextmanager
def hook(tls: ssl.SSLContext | None = None) -> Iterator[Hook]:
    """A web server on a free port."""
    state = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.posted.append(Posted(self.path, dict(self.headers), body))
            status, headers = state.next()
            if status == "hang":
                state.freed.wait(30)
                return
            if status == "close":
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(int(status))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(state.body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    state.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}/services/T0/B0/XXXX"
    with running(server):
        yield state
        state.freed.set()


@contextmanager
def running(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def stream(tls: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[bytes]]]:
    """A TCP server that keeps what each connection sends: its port, and what came."""
    came: list[bytes] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data = b""
            while piece := self.request.recv(65_536):
                data += piece
                if tls is not None:
                    break
            came.append(data)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    with running(server):
        yield server.server_address[1], came


@contextmanager
def datagrams() -> Iterator[tuple[int, Callable[[], bytes]]]:
    """A UDP socket: its port, and a function that waits for the next datagram."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as box:
        box.bind(("127.0.0.1", 0))
        box.settimeout(10)
        yield box.getsockname()[1], lambda: box.recv(65_536)
