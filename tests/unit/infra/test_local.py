"""What the local stack finds running."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.config import Settings
from infra.errors import ConfigError, StackError
from infra.process import free_port
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


@pytest.mark.parametrize("servers", ["127.0.0.1:0", "127.0.0.1:65536", "localhost:99999"])
def test_a_broker_s_port_that_is_none(settings: Callable[..., Settings], servers: str) -> None:
    with pytest.raises(ConfigError, match=r"kafka\.bootstrap_servers"):
        LocalStack(settings(kafka={"bootstrap_servers": servers})).parts()


@pytest.mark.parametrize("section", ["kafka", "postgres"])
def test_a_server_of_the_stack_is_not_started_for_an_address_that_it_does_not_serve(
    settings: Callable[..., Settings], section: str
) -> None:
    port = free_port()
    store = {"host": "::1", "port": port}
    stack = LocalStack(settings(kafka={"bootstrap_servers": f"[::1]:{port}"}, hot=store, alerts=store))
    with pytest.raises(StackError, match=rf"answers at \[::1\]:{port}"):
        stack.up(only=[section])
    assert not (stack.var / section).exists()


def test_names_of_one_database_server_and_of_two(settings: Callable[..., Settings]) -> None:
    def shown(**sections: dict[str, object]) -> list[tuple[str, str]]:
        return [(part.name, part.address) for part in LocalStack(settings(**sections)).servers() if part.name != "kafka"]

    one, other = free_port(), free_port()
    hot, alerts = {"port": one}, {"host": "localhost", "port": one}
    assert shown(hot=hot, alerts=alerts) == [("postgres", f"127.0.0.1:{one}")]
    assert shown(hot=hot, alerts={"port": other}) == [("postgres-hot", f"127.0.0.1:{one}"), ("postgres-alerts", f"127.0.0.1:{other}")]
    far = {"host": "db.example", "port": 5432}
    assert shown(hot=far, alerts={"port": other}) == [("postgres-hot", "db.example:5432"), ("postgres-alerts", f"127.0.0.1:{other}")]
