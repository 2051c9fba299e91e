"""The same datagrams to us and to collectors of others: the same totals."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from infra.process import free_port
from jobs.sources.netflow.exporting import ExportKind, ExportOptions
from tests.integration.netflow.exporters import export, make_capture, program, run, running, until, until_bound, until_read
from tests.unit.flowexport.exported import RoundTrip

pytestmark = pytest.mark.integration
_GOFLOW2 = "go install github.com/netsampler/goflow2/v2/cmd/goflow2@v2.2.6; or FLOWLAKE_EXPORTERS=the folder of its binary"


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_capture(tmp_path_factory.mktemp("opinions") / "made.pcap")


@pytest.mark.parametrize("kind", ["v5", "v9", "ipfix"])
def test_nfcapd(capture: Path, tmp_path: Path, kind: str) -> None:
    port = free_port()
    with running(program("nfcapd"), "-w", tmp_path, "-p", str(port), "-b", "127.0.0.1", "-B", "8000000", "-t", "3600") as collector:
        until_bound(port, collector)
        sent = export(capture, port, ExportOptions(ExportKind(kind)))
        until_read(port)
    said = "".join(run(program("nfdump"), "-r", file, "-I") for file in tmp_path.glob("nfcapd.*"))
    found = {name.lower(): int(n) for name, n in re.findall(r"^(Flows|Packets|Bytes|Sequence failures): (\d+)", said, re.MULTILINE)}
    ours = totals_of(RoundTrip(capture, kind))
    assert (found["flows"], found["packets"], found["bytes"]) == (sent["records"], *ours)
    assert found["sequence failures"] == 0


def totals_of(trip: RoundTrip) -> tuple[int, int]:
    return trip.total("packets") + trip.total("reverse_packets"), trip.total("bytes") + trip.total("reverse_bytes")


@pytest.mark.parametrize(("kind", "sampling"), [("v5", 1), ("v9", 1), ("ipfix", 1), ("v5", 10), ("v9", 10), ("ipfix", 10), ("sflow", 10)])
def test_goflow2(capture: Path, tmp_path: Path, kind: str, sampling: int) -> None:
    port, out = free_port(), tmp_path / "flows.json"
    scheme = "sflow" if kind == "sflow" else "netflow"
    listen = f"{scheme}://127.0.0.1:{port}?count=1&workers=1&blocking=true"  # more workers write into each other's lines
    words = ("-listen", listen, "-format", "json", "-transport", "file", "-transport.file", out)
    with running(program("goflow2", _GOFLOW2), *words, "-addr", f"127.0.0.1:{free_port()}") as collector:
        until_bound(port, collector)
        sent = export(capture, port, ExportOptions(ExportKind(kind), sampling=sampling))
        until_read(port)
        until(lambda: out.read_bytes().count(b"\n") >= sent["records"], "goflow2 writes fewer records than were sent")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    trip = RoundTrip(capture, kind, sampling=sampling)
    assert sum(row["packets"] for row in rows) == trip.total("packets")
    assert {row["sampling_rate"] for row in rows} <= ({sampling} if sampling > 1 else {0, 1})
    if kind != "sflow":  # of which it counts the frame, and we what is in it
        assert sum(row["bytes"] for row in rows) == trip.total("bytes")
