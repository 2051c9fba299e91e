"""Health and metrics over real HTTP."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Gauge

from infra.errors import ConfigError
from infra.health import Health, serving
from infra.process import free_port


def ask(url: str, method: str = "GET") -> tuple[int, str, str]:
    """Status, type, body."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.headers["Content-Type"], e.read().decode()


def test_health_and_metrics_on_one_port() -> None:
    registry, state = CollectorRegistry(), ["healthy"]
    Gauge("full", "How full", registry=registry).set(0.5)
    with serving("127.0.0.1", 0, registry, lambda: Health(state[0], {"kafka": "ok"})) as port:  # type: ignore[arg-type]
        base = f"http://127.0.0.1:{port}"
        status, kind, body = ask(f"{base}/health")
        told = json.loads(body)
        assert (status, kind) == (200, "application/json")
        assert set(told) == {"status", "version", "uptime_seconds", "checks"}
        assert (told["status"], told["checks"]) == ("healthy", {"kafka": "ok"})
        assert told["uptime_seconds"] >= 0
        assert told["version"]
        state[0] = "degraded"
        assert (ask(f"{base}/health")[0], json.loads(ask(f"{base}/health")[2])["status"]) == (200, "degraded")
        state[0] = "unhealthy"
        assert ask(f"{base}/health")[0] == 503
        assert ask(f"{base}/health", "HEAD")[::2] == (503, "")
        status, kind, body = ask(f"{base}/metrics")
        assert (status, kind.partition(";")[0]) == (200, "text/plain")
        assert "full 0.5" in body
        assert ask(f"{base}/health", "POST")[0] == 405
        status, _, body = ask(f"{base}/metric")
        assert (status, "/metrics" in body) == (404, True)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{base}/health", timeout=1)


def test_an_ipv6_address() -> None:
    with serving("::1", 0, CollectorRegistry(), lambda: Health("healthy", {})) as port:
        assert ask(f"http://[::1]:{port}/health")[0] == 200


def test_a_port_that_is_taken_is_told_with_the_option() -> None:
    port = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with (
            pytest.raises(ConfigError, match=f"metrics port 127.0.0.1:{port}") as e,
            serving("127.0.0.1", port, CollectorRegistry(), print),
        ):  # type: ignore[arg-type]
            pass
        assert "--metrics-port" in e.value.hint
