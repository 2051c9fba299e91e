"""The metrics page."""

from __future__ import annotations

import socket
import urllib.request

import pytest

from infra import metrics
from infra.errors import StackError
from infra.process import free_port


def test_served_once_however_often_asked() -> None:
    port = free_port()
    metrics.REJECTED.labels("t_serve", "idle").inc(3)
    assert metrics.serve("127.0.0.1", port) == port
    assert metrics.serve("127.0.0.1", port) == port
    page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    assert 'flowlake_rejected_total{query="t_serve",reason="idle"} 3.0' in page


def test_port_zero_is_off() -> None:
    assert metrics.serve("127.0.0.1", 0) == 0


def test_busy_port_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=rf"metrics cannot be served on 127.0.0.1:{port}: the port is taken") as caught:
            metrics.serve("127.0.0.1", port)
        assert "__NOTIFY_PORT" in caught.value.hint
