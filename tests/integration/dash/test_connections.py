"""Connections that bring no request: they end, and keep nobody else out. Sockets are really opened, on loopback."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from ops.dash import connections
from ops.dash.connections import BoundedProtocol, HandshakeLoop
from tests.integration.dash.conftest import Certificate, served

pytestmark = pytest.mark.integration
#: The beginning of a request that never ends.
HALF = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "


class HastyProtocol(BoundedProtocol):
    """With limits that a test can wait for."""

    request_s, read_s, most, most_of_one = 0.5, 0.5, 40, 20


async def _answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{len(await request.body())} bytes")


async def _long(request: Request) -> PlainTextResponse:
    return PlainTextResponse("x" * (64 << 20))


@contextmanager
def running(**options: str) -> Iterator[int]:
    """A server of these limits in a thread; its port."""
    made = Starlette(routes=[Route("/", _answer, methods=["GET", "POST"]), Route("/long", _long)])
    server = uvicorn.Server(
        uvicorn.Config(made, http=HastyProtocol, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=2, **options)  # type: ignore[arg-type]
    )
    with closing(socket.create_server(("127.0.0.1", 0))) as bound:

        def run() -> None:
            with asyncio.Runner(loop_factory=HandshakeLoop) as runner:
                runner.run(server.serve([bound]))

        thread = threading.Thread(target=run)
        thread.start()
        yield bound.getsockname()[1]
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with running() as found:
        yield found


@contextmanager
def opened(port: int, sent: bytes = b"", host: str = "127.0.0.1") -> Iterator[socket.socket]:
    with closing(socket.create_connection((host, port), 20)) as line:
        line.sendall(sent)
        yield line


def told(line: socket.socket) -> bytes:
    """All that comes until the server ends the connection."""
    found = b""
    try:
        while part := line.recv(1 << 16):
            found += part
    except ConnectionResetError:
        return found
    return found


@pytest.mark.parametrize("count", [300, 600])
def test_half_open_requests_lock_nobody_out(dash: str, count: int) -> None:
    """Of one client, which is the worst: on loopback, or behind a proxy, all are one."""
    port = int(dash.rpartition(":")[2])
    with ExitStack() as stack:
        lines = [stack.enter_context(opened(port, HALF)) for _ in range(count)]
        with httpx2.Client(base_url=dash, timeout=20) as client:
            for _ in range(3):
                assert client.get("/health").text == "ok\n"
            assert client.get("/view/alerts", headers={"accept": "text/html"}).status_code == 200
        assert told(lines[0]) == b""  # the oldest had to go


def test_of_half_open_ones_over_tls_none_stays(conf: Path, certificate: Certificate) -> None:
    cert, key = certificate
    with served(conf, "--cert", cert, "--key", key) as address, ExitStack() as stack:
        port = int(address.rpartition(":")[2])
        for _ in range(150):
            stack.enter_context(opened(port))  # no handshake
        trusting = ssl._create_unverified_context()
        for _ in range(150):
            line = trusting.wrap_socket(stack.enter_context(opened(port)))
            line.sendall(HALF)
            stack.callback(line.close)
        with httpx2.Client(base_url=address, verify=False, timeout=20) as client:
            assert client.get("/health").text == "ok\n"


def test_half_a_header_is_told_and_closed(port: int) -> None:
    with opened(port, HALF) as line:
        assert told(line).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("sent", [b"", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123"])
def test_what_says_nothing_or_stops_in_the_middle_is_closed(port: int, sent: bytes) -> None:
    with opened(port, sent) as line:
        assert told(line) == b""


@pytest.mark.parametrize("before", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_who_sends_a_byte_now_and_then_gets_no_more_time(port: int, before: bytes) -> None:
    stop = threading.Event()
    with opened(port, before + HALF) as line:

        def drip() -> None:
            try:
                while not stop.wait(0.05):
                    line.sendall(b"x")
            except OSError:
                return

        thread = threading.Thread(target=drip)
        thread.start()
        found = told(line)
        stop.set()
        thread.join()
    assert (b" 408 " in found, b"0 bytes" in found) == (not before, bool(before))


def test_a_body_that_nobody_reads_is_no_way_to_stay(port: int) -> None:
    with opened(port, b"GET /long HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n") as line:
        assert told(line).startswith(b"HTTP/1.1 200 ")


def test_who_does_not_read_the_answer_is_left(port: int) -> None:
    with opened(port, b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n") as line:
        assert line.recv(15) == b"HTTP/1.1 200 OK"
        threading.Event().wait(3 * HastyProtocol.read_s)
        assert len(told(line)) < 64 << 20


def test_a_request_in_parts_and_several_on_one_connection_are_answered(port: int) -> None:
    whole = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd"
    with opened(port, whole[:20]) as line:
        line.sendall(whole[20:-2])
        line.sendall(whole[-2:])
        line.sendall(whole * 2)  # and two at once
        line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert re.findall(rb"\d bytes", told(line)) == [b"4 bytes"] * 3 + [b"0 bytes"]


def test_a_crowd_of_one_client_costs_others_nothing(port: int) -> None:
    """Addresses of loopback stand for clients: 127.0.0.2 was there first, and the crowd comes from 127.0.0.1."""
    with ExitStack() as stack:
        first = stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), 20, ("127.0.0.2", 0))))
        for _ in range(60):
            stack.enter_context(opened(port, HALF))
        first.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert told(first).endswith(b"0 bytes")


def test_a_handshake_that_does_not_come_is_waited_for_a_moment(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HANDSHAKE_S", 0.3)
    cert, key = certificate
    with running(ssl_certfile=cert, ssl_keyfile=key) as port, opened(port) as line:
        assert told(line) == b""


@pytest.mark.parametrize(
    ("address", "who"),
    [
        ("10.0.0.1", "10.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("2001:db8::1", "2001:db8::/64"), ("fe80::1%eth0", "fe80::/64"),
        ("", ""), ("/run/a.sock", "/run/a.sock"),
    ],
)  # fmt: skip
def test_who_is_one_client(address: str, who: str) -> None:
    assert connections.client(address) == who
