"""Health and metrics of a long-running command on one port: ``GET /health`` (JSON), ``GET /metrics`` (Prometheus)."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, Literal
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from infra.errors import ConfigError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

Status = Literal["healthy", "degraded", "unhealthy"]
#: What works badly still works: whoever restarts a service by its health must not do so for that.
_ANSWERS: Mapping[Status, str] = {"healthy": "200 OK", "degraded": "200 OK", "unhealthy": "503 Service Unavailable"}
_PATHS = "/health, /metrics"


@dataclass(frozen=True)
class Health:
    """How a service does.

    Attributes
    ----------
    status
        ``healthy``; ``degraded``: it works, and not as it should; ``unhealthy``: it does not.
    checks
        What was looked at -> ``ok``, ``not_configured``, or what is wrong in a word.
    """

    status: Status
    checks: Mapping[str, str]


class _HealthServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asks and does not wait for the answer is no news."""


class _HealthServer6(_HealthServer):
    address_family = socket.AF_INET6


class _QuietHandler(WSGIRequestHandler):
    timeout = 10  # no thread waits longer for a client

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are no news."""


@contextmanager
def serving(host: str, port: int, registry: CollectorRegistry, health: Callable[[], Health]) -> Iterator[int]:
    """Serve while inside; gives the port.

    Parameters
    ----------
    host, port
        Where; port 0 is any free one.
    registry
        What ``/metrics`` shows.
    health
        Asked at every ``GET /health``, from a thread of the server.

    Raises
    ------
    ConfigError
        The port cannot be had.
    """
    try:
        server = (_HealthServer6 if ":" in host else _HealthServer)((host, port), _QuietHandler)
    except OSError as e:
        raise ConfigError(f"metrics port {host}:{port}: {e.strerror}", "name another with --metrics-port, 0 turns it off") from e
    server.set_app(_app(registry, health))
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _app(registry: CollectorRegistry, health: Callable[[], Health]) -> Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]:
    metrics, began, version = make_wsgi_app(registry), time.monotonic(), metadata.version("flowlake")

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path == "/metrics":
            found: Iterable[bytes] = metrics(environ, start)
            return found
        if path != "/health":
            return _say(start, "404 Not Found", {"error": f"nothing here; there are {_PATHS}"})
        if method not in ("GET", "HEAD"):
            return _say(start, "405 Method Not Allowed", {"error": f"{method} is not answered; GET is"}, ("Allow", "GET, HEAD"))
        now = health()
        uptime_s = round(time.monotonic() - began, 1)
        told = {"status": now.status, "version": version, "uptime_seconds": uptime_s, "checks": dict(now.checks)}
        body = _say(start, _ANSWERS[now.status], told)
        return body if method == "GET" else []

    return answer


def _say(start: StartResponse, status: str, told: Mapping[str, Any], *headers: tuple[str, str]) -> list[bytes]:
    body = json.dumps(told).encode() + b"\n"
    start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store"), *headers])
    return [body]
