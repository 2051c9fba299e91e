"""``flowlake demo`` as a person runs it, in a home and on ports of its own: twice, since a second run must start clean."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from scapy.utils import PcapReader

from infra.config import ROOT
from infra.jvm import jars
from infra.process import free_port
from tests.e2e.test_readme import marked

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

S3_KEYS = {"FLOWLAKE_LAKE__S3_ACCESS_KEY": "flowlake", "FLOWLAKE_LAKE__S3_SECRET_KEY": "flowlake-secret"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment of the command: own home, own ports, and a small model: training the demonstration model takes a minute."""
    home = tmp_path_factory.mktemp("demo")
    for section in ("broker", "spark"):
        jars.ensure(section)
    port = str(free_port())
    env = {k: v for k, v in os.environ.items() if not k.startswith("FLOWLAKE_")} | {
        "FLOWLAKE_HOME": str(home),
        "FLOWLAKE_JARS": str(jars.folder("broker").parent),
        "FLOWLAKE_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        "FLOWLAKE_HOT__PORT": port,
        "FLOWLAKE_ALERTS__PORT": port,
    }
    trained = _flowlake(env, "train", "--seeds", "1-10", "--seconds", "8", "--splits", "none", "--promote")
    assert trained.returncode == 0, trained.stderr
    yield env
    _flowlake(env, "down")
    shutil.rmtree(home, ignore_errors=True)


def _flowlake(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "ops.cli.main", *arguments]
    return subprocess.run(argv, env=env, cwd=ROOT, capture_output=True, text=True, timeout=700)


def _closed(env: dict[str, str], done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The report of a run that went well."""
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout)
    folder = Path(env["FLOWLAKE_HOME"]) / "var" / "demo"
    assert json.loads((folder / "report.json").read_text()) == report
    assert report["packets_sent"] == report["packets_metered"] + report["packets_rejected"]
    assert report["flows_closed"] == report["lake_rows"] == report["hot_rows"] > 0
    assert all(check["closes"] for check in report["checks"])
    assert "<svg" in (folder / "report.html").read_text()
    return report


def _asked_in_the_bucket(env: dict[str, str], flows: int) -> None:
    """The lake is where the demo says, and its keys come from the environment alone."""
    conf = Path(env["FLOWLAKE_HOME"]) / "var" / "demo" / "conf.yaml"
    assert "s3a://flowlake-demo/flows" in conf.read_text()
    assert "flowlake-secret" not in conf.read_text()
    told = _flowlake(env | S3_KEYS, "lake", "info", "--json", "--conf-file", str(conf))
    assert [(table["table"], table["rows"]) for table in json.loads(told.stdout)] == [("flows", flows), ("quarantine", 0)], told.stderr
    asked = _flowlake(env | S3_KEYS, "flows", "--json", "--limit", "3", "--conf-file", str(conf))
    assert len(json.loads(asked.stdout)) == 3, asked.stderr


def _on_call(env: dict[str, str], folder: Path, report: dict[str, Any]) -> None:
    """The tutorial "on call: your first hour", on the traffic of this demo."""
    blocks = marked("docs/tutorials/on-call-first-hour.md")
    assert len(blocks) >= 9
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    conf = Path(env["FLOWLAKE_HOME"]) / "var" / "demo" / "conf.yaml"
    where = {"PATH": path, "FLOWLAKE_CONF": str(conf), "NO_COLOR": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    text = "\necho ----\n".join(blocks)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=folder, env=env | where, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    going, story, taken, why, evidence, stopped, silenced, wrong, closed, page = done.stdout.split("----\n")
    assert len(going.splitlines()) > report["incident_rows"]
    assert "MITRE ATT&CK" in story or "T1" in story
    assert "anna" in taken
    assert "why: the score of flow" in why
    assert "usually" in why
    assert re.search(r"[1-9][\d,]* frames", evidence + done.stderr)
    with PcapReader(str(folder / "alert.pcap")) as frames:
        assert next(iter(frames)) is not None
    assert "192.0.2.101" in stopped
    assert "198.51.100.7" in silenced
    assert "FALSE_POSITIVE" in wrong or "labelled" in wrong
    assert "incident.update" in closed or "incident" in closed
    assert "report.html" in page + done.stderr
    assert "<svg" in (folder / "report.html").read_text()


def _left_running(env: dict[str, str]) -> list[list[str]]:
    """Command lines of processes that still work in the home."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if process.info["status"] != psutil.STATUS_ZOMBIE and any(env["FLOWLAKE_HOME"] in word for word in words):
            found.append(words)
    return found


def test_generated_traffic_then_a_capture_file(shop: dict[str, str], tmp_path: Path):
    first = _closed(shop, _flowlake(shop, "demo", "--lake", "s3", "--seconds", "6", "--seed", "5", "--json", "--keep"))
    _asked_in_the_bucket(shop, first["flows_closed"])
    assert first["packets_sent"] == sum(pq.read_table(Path(shop["FLOWLAKE_HOME"]) / "var/demo/truth.parquet")["packets"].to_pylist())
    assert first["quality"]["precision"] is not None
    assert first["latency_ms"]["p50"] is None or first["latency_ms"]["p50"] > 0
    assert first["memory_peak_mb"] > 0
    assert first["detection"]["unmatched"] == 0
    assert first["incident_rows"] <= 20
    grouping = first["grouping"]  # a model of six runs of some seconds takes one kind of scan for another, and misses one or two
    assert grouping["false_alerts"] <= 3
    assert grouping["purity"] >= 0.85
    assert grouping["completeness"] >= 0.85
    assert grouping["campaigns"] >= 11
    assert len(grouping["missed"]) <= 3
    _on_call(shop | S3_KEYS, tmp_path, first)

    capture = tmp_path / "small.pcap"
    made = _flowlake(shop, "sensor", "generate", "--preset", "demo", "--duration", "5", "--out", str(capture), "--json")
    packets = json.loads(made.stdout)["packets"]
    second = _closed(shop, _flowlake(shop, "demo", "--pcap", str(capture), "--json"))
    assert second["packets_sent"] == packets
    assert second["latency_ms"] == {"p50": None, "p99": None}  # file times are not the wall clock's
    assert second["detection"]["flows"] == second["flows_closed"]  # the truth beside the file was found
    assert second["packets_metered"] <= packets  # nothing of the first run

    down = _flowlake(shop, "down")
    assert down.returncode == 0, down.stderr
    assert _left_running(shop) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--pcap", "no-such.pcap"], 3, "no-such.pcap"),
        (["--iface", "nosuchif0"], 3, "nosuchif0"),
        (["--pcap", "a.pcap", "--iface", "lo"], 2, "--pcap and --iface"),
        (["--iface", "lo", "--seed", "3"], 2, "--seed"),
        (["--conf-file", "conf/cluster.yaml"], 2, "local stack only"),
    ],
)
def test_what_cannot_be_sent_is_told_before_anything_starts(tmp_path: Path, arguments: list[str], code: int, words: str):
    env = {k: v for k, v in os.environ.items() if not k.startswith("FLOWLAKE_")} | {"FLOWLAKE_HOME": str(tmp_path)}
    done = _flowlake(env, "demo", *arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "var" / "kafka").exists()
