"""How models get from the driver to the workers while a query runs.

What a query's tasks carry is fixed when it starts. So they carry an address of the driver and a key, and ask there: *I have the set of
models of this digest, and have counted this; is there another?* The answer is 304, or the set, pickled.

Unpickling runs code, so nothing is unpickled that the driver has not signed: request and answer bear an HMAC-SHA256 (RFC 2104) under the
key, over a number that the asker draws for this one request. The key is drawn for each driver, travels with the tasks as their code
does, and is never sent here. Who can read this traffic sees the models; who lacks the key can neither ask nor answer.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import secrets
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from infra.errors import StackError

#: Seconds that a worker waits for the driver, before it goes on with what it has.
PATIENCE_S = 2.0
_MOST_ASKED, _MOST_ANSWERED = 1 << 20, 1 << 30
_NONCE, _SIGNATURE = "X-Flowlake-Nonce", "X-Flowlake-Signature"


class Offer(NamedTuple):
    """A pickled set of models, and its SHA-256."""

    body: bytes
    digest: str

    @classmethod
    def of(cls, body: bytes) -> Offer:
        """The offer of a body."""
        return cls(body, hashlib.sha256(body).hexdigest())


@dataclass(frozen=True)
class Lease:
    """What a task carries.

    Attributes
    ----------
    host, port
        Of the driver.
    path
        Of its sets.
    key
        Signs and checks.
    every_s
        Seconds between two questions.
    offer
        The set that was in force when the query started.
    """

    host: str
    port: int
    path: str
    key: bytes
    every_s: float
    offer: Offer

    def __repr__(self) -> str:
        return f"Lease({self.host}:{self.port}{self.path})"  # a key is never shown


class UnansweredError(Exception):
    """The driver does not answer, or it is not the driver who answers."""


def ask(lease: Lease, digest: str, counts: dict[str, Any]) -> bytes | None:
    """The body of the set in force; None where it is the one of ``digest``. ``counts`` go with the question.

    Raises
    ------
    UnansweredError
        There is no answer within :data:`PATIENCE_S`, or its signature is wrong.
    """
    nonce = secrets.token_hex(16)
    asked = json.dumps(counts).encode()
    headers = {
        "If-None-Match": f'"{digest}"',
        _NONCE: nonce,
        _SIGNATURE: _signed(lease.key, "ask", nonce, lease.path, digest, asked),
    }
    connection = http.client.HTTPConnection(lease.host, lease.port, timeout=PATIENCE_S)
    try:
        connection.request("POST", lease.path, asked, headers)
        answer = connection.getresponse()
        if int(answer.getheader("Content-Length") or 0) > _MOST_ANSWERED:
            raise UnansweredError("the answer is too long")
        body = answer.read(_MOST_ANSWERED)
        if answer.status not in (200, 304):
            raise UnansweredError(f"the driver answers {answer.status}")
        signature = answer.getheader(_SIGNATURE) or ""
    except (OSError, http.client.HTTPException, ValueError) as e:
        raise UnansweredError(f"{lease.host}:{lease.port}: {type(e).__name__}: {e}") from e
    finally:
        connection.close()
    if not hmac.compare_digest(signature, _signed(lease.key, str(answer.status), nonce, lease.path, digest, body)):
        raise UnansweredError(f"{lease.host}:{lease.port}: the answer is not signed by the driver")
    return body if answer.status == 200 else None


def _signed(key: bytes, what: str, nonce: str, path: str, digest: str, body: bytes) -> str:
    head = "\n".join((what, nonce, path, digest)).encode("utf-8", "replace")
    return hmac.new(key, head + b"\n" + hashlib.sha256(body).digest(), hashlib.sha256).hexdigest()


class ModelDesk:
    """The driver's end: gives out the set in force at each path. Makes no threads before the first :meth:`lease`.

    Parameters
    ----------
    bind, host
        Address that it listens on, and the one by which workers find it.
    port
        0: any that is free.
    told
        Gets what the workers have counted.

    Raises
    ------
    StackError
        The port is taken, or the address is not of this machine.
    """

    def __init__(self, bind: str, host: str, port: int, told: Callable[[dict[str, Any]], None]) -> None:
        self._offers: dict[str, Offer] = {}
        self._key = secrets.token_bytes(32)
        self._host = host
        server = _ModelServer6 if ":" in bind else _ModelServer
        try:
            self._server = server(
                (bind, port), type("_Bound", (_ModelHandler,), {"offers": self._offers, "key": self._key, "told": staticmethod(told)})
            )
        except OSError as e:
            raise StackError(
                f"models cannot be given out on {bind}:{port}: {e.strerror or e}", "set scoring.port to a free port, or to 0"
            ) from e
        threading.Thread(target=self._server.serve_forever, name="models", daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def put(self, path: str, offer: Offer) -> None:
        """Put a set in force."""
        self._offers[path] = offer

    def lease(self, path: str, every_s: float) -> Lease:
        """What a task needs to ask for the set of a path, every so many seconds."""
        return Lease(self._host, self.port, path, self._key, every_s, self._offers[path])

    def close(self) -> None:
        """Give out nothing more."""
        self._server.shutdown()
        self._server.server_close()


class _ModelServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A worker that was killed while it asked is no news."""


class _ModelServer6(_ModelServer):
    address_family = socket.AF_INET6


class _ModelHandler(BaseHTTPRequestHandler):
    """Answers of one path each; no thread waits for a client for longer than ``timeout`` seconds."""

    offers: dict[str, Offer]
    key: bytes
    told: Callable[[dict[str, Any]], None]
    timeout = 10
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.close_connection = True
        nonce, digest = self.headers.get(_NONCE, ""), self.headers.get("If-None-Match", "").strip('"')
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            length = -1
        if not 0 <= length <= _MOST_ASKED:
            return self._say(400)
        asked = self.rfile.read(length)
        if not hmac.compare_digest(self.headers.get(_SIGNATURE, ""), _signed(self.key, "ask", nonce, self.path, digest, asked)):
            return self._say(403)
        offer = self.offers.get(self.path)
        if offer is None:
            return self._say(404)
        status, body = (304, b"") if offer.digest == digest else (200, offer.body)
        self._say(status, body, {"ETag": f'"{offer.digest}"', _SIGNATURE: _signed(self.key, str(status), nonce, self.path, digest, body)})
        self.told(json.loads(asked))

    def _say(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are no news."""
