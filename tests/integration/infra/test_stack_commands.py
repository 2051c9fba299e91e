"""``flowlake up | status | topics | logs | down`` on ports and a home of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.jvm import jars
from infra.process import free_port
from ops.cli import main as cli

pytestmark = pytest.mark.integration


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    return int(ended.value.code or 0)


def test_life_of_the_stack(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    jars.ensure("broker")
    port = str(free_port())
    monkeypatch.setenv("FLOWLAKE_KAFKA__BOOTSTRAP_SERVERS", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("FLOWLAKE_HOT__PORT", port)
    monkeypatch.setenv("FLOWLAKE_ALERTS__PORT", port)
    monkeypatch.setenv("FLOWLAKE_ALERTS__DATABASE", "incidents")

    def state() -> dict[str, str]:
        capsys.readouterr()
        assert run("status", "--json") == 0
        return {part["name"]: part["state"] for part in json.loads(capsys.readouterr().out)["parts"]}

    assert (state()["kafka"], state()["postgres"]) == ("stopped", "stopped")
    try:
        assert run("up") == 0
        assert run("up") == 0
        assert "already running" in capsys.readouterr().out
        assert {name: state()[name] for name in ("kafka", "postgres", "lake")} == {"kafka": "ready", "postgres": "ready", "lake": "ok"}
        assert run("topics", "--check") == 0
        assert run("topics", "--check", "--json") == 0
        assert run("logs", "kafka", "-n", "3") == 0
        capsys.readouterr()
        monkeypatch.setenv("FLOWLAKE_KAFKA__PARTITIONS", '{"raw-packets": 5}')
        assert run("topics", "--check") == 4
        assert "4 partitions, declared 5" in capsys.readouterr().err
        assert run("doctor") in (0, 1)
        assert "runs on port" in capsys.readouterr().out
    finally:
        assert run("down") == 0
    assert (state()["kafka"], state()["postgres"]) == ("stopped", "stopped")
    assert run("down") == 0


def test_two_local_stores_on_different_ports_are_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLOWLAKE_HOT__PORT", "2")
    monkeypatch.setenv("FLOWLAKE_ALERTS__PORT", "3")
    assert run("up") == 7
    assert "ports 2 and 3" in capsys.readouterr().err
