"""``flowlake demo --source netflow`` as a person runs it, in a home and on ports of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.config import ROOT
from infra.jvm import jars
from infra.process import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Environment of the command."""
    for section in ("broker", "spark"):
        jars.ensure(section)
    port = str(free_port())
    env = {k: v for k, v in os.environ.items() if not k.startswith("FLOWLAKE_")} | {
        "FLOWLAKE_HOME": str(tmp_path),
        "FLOWLAKE_JARS": str(jars.folder("broker").parent),
        "FLOWLAKE_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        "FLOWLAKE_HOT__PORT": port,
        "FLOWLAKE_ALERTS__PORT": port,
    }
    yield env
    flowlake(env, "down")


def flowlake(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops.cli.main", *arguments], env=env, cwd=ROOT, capture_output=True, text=True, timeout=400
    )


def test_every_record_of_every_exporter_is_in_every_store(shop: dict[str, str]) -> None:
    done = flowlake(shop, "demo", "--source", "netflow", "--seconds", "8", "--json")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["closes"]
    assert {check["name"] for check in report["checks"]} >= {"datagrams", "edge router", "switch", "sequence numbers", "ids"}
    exported = {one["name"]: one for one in report["exporters"]}
    assert exported["edge router"]["records"] > 500
    assert exported["edge router"]["octets"] > 100_000
    assert report["sums"]["records"] == sum(one["records"] for one in exported.values())
    # What several exporters saw is counted once: not less than the one that sees all, and little more by what only the sample timed.
    seen = exported["edge router"]["octets"]
    assert seen <= report["sums"]["scaled_bytes"] < 1.1 * seen
    page = (Path(shop["FLOWLAKE_HOME"]) / "var" / "demo" / "report.html").read_text()
    assert "Every record is accounted for." in page
    assert "<svg" in page


@pytest.mark.parametrize(
    ("options", "said"), [(("--source", "windows"), "it has no demo"), (("--source", "netflow", "--iface", "lo"), "--iface")]
)
def test_what_does_not_go_together(shop: dict[str, str], options: tuple[str, ...], said: str) -> None:
    done = flowlake(shop, "demo", *options)
    assert done.returncode == 2
    assert said in done.stderr
