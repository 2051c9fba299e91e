"""``flowlake netflow export``."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest

from infra.errors import CaptureError, ConfigError, FlowlakeError
from infra.process import free_port
from jobs.flowexport.datagrams import DatagramBatch
from jobs.flowexport.decoder import decode
from jobs.flowexport.session import ExportSessions
from ops.cli.main import run
from sensors.generate import TrafficGenerator, preset
from sensors.netflow.recorded import RecordedDatagrams
from sensors.packets.pcapwriter import PcapWriter


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "made.pcap"
    with PcapWriter(path) as writer:
        for frames in TrafficGenerator(preset("demo", seed=4, duration_s=2)):
            writer.write(frames)
    return path


@pytest.mark.parametrize("kind", ["v5", "v9", "ipfix", "sflow"])
def test_a_collector_receives_what_is_told(capture: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        collector.settimeout(0.2)
        to = f"127.0.0.1:{collector.getsockname()[1]}"
        assert run(["netflow", "export", str(capture), "--as", kind, "--to", to, "--rate", "20000", "--shift-to-now", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        received = [collector.recv(65_536) for _ in range(told["datagrams"])]
    assert sum(map(len, received)) == told["octets"]
    batch = DatagramBatch.of((payload, bytes(16), 2055, 0) for payload in received)
    flows = [piece.flows for piece in decode(batch, ExportSessions())]
    assert sum(len(f) for f in flows) == told["records"] > 0
    for name in ("packets", "bytes"):
        assert sum(int(f[name].sum()) for f in flows) == told[name]
    unsaid = sum(t["packets"] for t in told["unsaid"].values())
    assert told["packets"] + unsaid + sum(told["rejected"].values()) == told["packets_seen"]


def test_a_file_of_datagrams_can_be_replayed(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.pcap"
    assert run(["netflow", "export", str(capture), "--as", "ipfix", "--biflow", "--into", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sum(len(d.payload) for d in RecordedDatagrams(out, [4739])) == told["octets"]
    assert told["to"] == str(out)


def test_nobody_listening_is_an_error(capture: Path) -> None:
    with pytest.raises(FlowlakeError, match=r"nobody listens on 127\.0\.0\.1 port"):
        run(["netflow", "export", str(capture), "--to", f"127.0.0.1:{free_port()}"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--as", "v8"], "--as v8: no such protocol"),
        (["--biflow"], "--biflow with --as v9"),
        (["--as", "v5", "--sampling", "20000"], "--sampling 20000 with --as v5"),
        (["--to", "127.0.0.1:70000"], "'70000' is no port"),
        (["--to", "no such host."], "no such host"),
        (["--rate", "0"], "--rate 0.0"),
        (["--speed", "inf"], "--speed inf"),
        (["--into", "x.pcap", "--speed", "1"], "--into with a pace"),
        (["--into", "x.pcap", "--exporter", "::1"], "--exporter ::1 with --to 127.0.0.1"),
        (["--exporter", "me"], "--exporter me"),
    ],
)
def test_what_makes_no_sense_is_told(capture: Path, words: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        run(["netflow", "export", str(capture), *words])


def test_what_is_read_is_not_overwritten(capture: Path) -> None:
    with pytest.raises(ConfigError, match=r"--into .* is what is read"):
        run(["netflow", "export", str(capture), "--into", str(capture)])


def test_files_that_cannot_be_read_are_told_and_the_others_exported(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.pcap"
    broken.write_bytes(b"no capture at all")
    out = tmp_path / "out.pcap"
    with pytest.raises(CaptureError, match="1 capture file of 2"):
        run(["netflow", "export", str(capture), str(broken), "--into", str(out)])
    said = capsys.readouterr()
    assert "broken.pcap" in said.err
    assert "records of" in said.out
    assert out.exists()


def test_the_summary_for_people_tells_what_cannot_be_said(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["netflow", "export", str(capture), "--as", "v5", "--sampling", "2", "--into", str(tmp_path / "x.pcap")]) == 0
    said = capsys.readouterr().out
    assert "1 of 2 packets" in said
    assert "v5 cannot say" in said
