"""What the local stack finds running."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from infra.config import Settings
from infra.stack.local import LocalStack

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_drivers_are_shown_with_their_queries(settings: Callable[..., Settings], home: Path) -> None:
    stack = LocalStack(settings())
    assert [(p.state, p.detail) for p in stack.parts() if p.name == "stream"] == [("stopped", "")]
    other = stack.query("lake")
    pid = other.start(SLEEP).pid
    with stack.query("meter").claimed(), stack.query("alerts").claimed():
        shown = {p.pid: p.detail for p in stack.parts() if p.name == "stream"}
        assert shown == {os.getpid(): "(alerts, meter)", pid: "(lake)"}
    assert [queries for _, queries in stack.drivers()] == [["lake"]]
    other.stop(2)
    assert stack.drivers() == []
