"""The whole stream in folders such as people have, run as cron runs it: no locale, blanks, umlauts, an escaped branch name."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra import config
from infra.config import ROOT
from infra.jvm import jars
from infra.process import free_port
from tests.champions import promote_any

pytestmark = [pytest.mark.e2e, pytest.mark.integration, pytest.mark.timeout(600)]

#: All that a folder may be called; and that of the lake, where delta-rs knows no escape, backslash or backtick.
HOME, LAKE = "pfad  mit ü, %2F?#&=;:!$'\"x [1] {a}* \\b`c 😀 ", "see ü, 100%?#&=;:!$'\"x [1] {a}* 😀"


def flowlake(environment: dict[str, str], *arguments: str) -> str:
    argv = [sys.executable, "-m", "ops.cli.main", *arguments]
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    return done.stdout


def test_the_whole_stream_under_names_that_people_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, lake = tmp_path / HOME, tmp_path / LAKE / "flows"
    home.mkdir()
    jars.ensure("broker")
    broker, database = f"127.0.0.1:{free_port()}", str(free_port())
    mine = {
        "FLOWLAKE_HOME": str(home),
        "FLOWLAKE_LAKE__PATH": str(lake),
        "FLOWLAKE_LAKE__TRIGGER_MS": "0",
        "FLOWLAKE_KAFKA__BOOTSTRAP_SERVERS": broker,
        "FLOWLAKE_METRICS__STREAM_PORT": "0",
        "FLOWLAKE_HOT__PORT": database,
        "FLOWLAKE_ALERTS__PORT": database,
    }
    for name, value in mine.items():
        monkeypatch.setenv(name, value)
    promote_any(config.load())
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG"))} | {"LC_ALL": "C"}
    log = tmp_path / "stream.log"
    flowlake(environment, "up")
    try:
        flowlake(environment, "down")
        assert " created" not in flowlake(environment, "up"), "the broker finds its data again"
        flowlake(environment, "sensor", "generate", "--to-kafka", "--speed", "0", "--duration", "3", "--rate", "300")
        with log.open("wb") as out:
            argv = [sys.executable, "-m", "ops.cli.main", "stream"]
            process = subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=out, stderr=out)
        try:
            end = time.monotonic() + 240
            while not (lake / "_delta_log" / f"{1:020d}.json").exists():
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < end, log.read_text()[-3000:]
                time.sleep(0.2)
            parts = {part["name"]: part for part in json.loads(flowlake(environment, "status", "--json"))["parts"]}
            assert (parts["stream"]["state"], parts["lake"]["address"]) == ("running", str(lake))
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
        assert code == 0, log.read_text()[-3000:]
        assert json.loads(flowlake(environment, "flows", "--json"))
    finally:
        flowlake(environment, "down")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([HOME, LAKE, "stream.log"]), "nothing lies beside them"
    assert [p.name for p in home.iterdir()] == ["var"]
    assert (home / "var" / "logs" / "spark.log").is_file()
    assert (home / "var" / "kafka" / "data" / "meta.properties").is_file()
