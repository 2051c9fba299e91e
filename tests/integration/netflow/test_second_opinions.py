"""The same datagrams to us and to collectors of others: the same totals."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.config import load
from infra.process import free_port
from jobs.sources.netflow.exporting import ExportJob, ExportKind, ExportOptions
from sensors.netflow.sending import SendPace, UdpSender
from sensors.packets.files import Found
from tests.integration.netflow.exporters import make_capture, program, run, running, totals, truth, until_bound, until_read
from tests.unit.flowexport.exported import RoundTrip, keyed, metered, of_version

pytestmark = pytest.mark.integration
_GOFLOW2 = "go install github.com/netsampler/goflow2/v2/cmd/goflow2@v2.2.6; or FLOWLAKE_EXPORTERS=the folder of its binary"


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_capture(tmp_path_factory.mktemp("opinions") / "made.pcap")


def export(capture: Path, port: int, options: ExportOptions) -> dict[str, int]:
    """Send a capture's flows to a collector; what was sent."""
    stop = threading.Event()
    job = ExportJob(Found([capture]), options, load(None), stop)
    with UdpSender("127.0.0.1", port) as sender:
        job.run(sender, SendPace(0.0, 5000.0, stop))
        assert sender.refused == 0
    return job.summary(0.0, 0)


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
    words = ("-listen", f"{scheme}://127.0.0.1:{port}", "-format", "json", "-transport", "file", "-transport.file", out)
    with running(program("goflow2", _GOFLOW2), *words, "-addr", f"127.0.0.1:{free_port()}") as collector:
        until_bound(port, collector)
        export(capture, port, ExportOptions(ExportKind(kind), sampling=sampling))
        until_read(port)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    trip = RoundTrip(capture, kind, sampling=sampling)
    assert sum(row["packets"] for row in rows) == trip.total("packets")
    assert {row["sampling_rate"] for row in rows} <= ({sampling} if sampling > 1 else {0, 1})
    if kind != "sflow":  # of which it counts the frame, and we what is in it
        assert sum(row["bytes"] for row in rows) == trip.total("bytes")


def test_what_nfcapd_and_we_compare_with_is_the_truth(capture: Path) -> None:
    counted = metered(capture)
    shown: dict[str, Callable[[], tuple[int, int]]] = {
        "v5": lambda: truth(of_version(counted, 4)),
        "v9": lambda: truth(counted),
        "ipfix": lambda: truth(counted),
    }
    for kind, wanted in shown.items():
        trip = RoundTrip(capture, kind)
        assert [sum(values) for values in zip(*map(totals, trip.flows), strict=True)] == list(wanted())
        assert sum(map(len, map(keyed, trip.flows))) > 0
