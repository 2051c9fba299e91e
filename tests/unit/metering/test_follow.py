"""``flowlake meter --follow``: the records of the finished file, while it grows."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from infra.errors import CaptureError, ConfigError
from jobs.metering.batch import Accounts, meter_captures
from jobs.metering.files import RecordWriter
from jobs.sources.packets.commands import meter as meter_command
from ops.cli.main import run
from schemas.flows import RECORD_SCHEMA
from sensors.generate import generate, preset
from sensors.packets.capture import CaptureReader
from sensors.packets.following import Follow
from sensors.packets.frames import concat
from sensors.packets.pcapwriter import PcapWriter
from tests.unit.sensors.packets import captures as c

T0 = 1_700_000_000 * 10**9
ROOT = Path(__file__).parents[3]


def udp(host: int) -> bytes:
    """A datagram of one byte from 10.0.0.host."""
    return (
        bytes.fromhex("020000000001020000000002 0800 4500001d0000000040110000 0a0000")
        + bytes([host])
        + bytes.fromhex("0a0000fe 04000035 00090000 41")
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The same generated traffic as pcap and as pcapng."""
    path = tmp_path_factory.mktemp("capture") / "mixed.pcap"
    with PcapWriter(path) as out:
        for batch in generate(preset("demo", seed=11, duration_s=3)):
            out.write(batch)
    frames = concat(list(CaptureReader(path)))
    nano = c.interface(options=[c.option(9, b"\x09")])
    blocks = [c.enhanced(int(frames.ts[i]), frames.frame(i)) for i in range(len(frames))]
    return {"pcap": path.read_bytes(), "pcapng": c.section() + nano + b"".join(blocks)}


def table(batches: object) -> pa.Table:
    return pa.Table.from_batches(batches, RECORD_SCHEMA).sort_by("flow_id").combine_chunks()


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_records_of_the_finished_file(tmp_path: Path, data: dict[str, bytes], kind: str) -> None:
    content, path = data[kind], tmp_path / "growing"
    rng = random.Random(kind)
    at = 0
    follow = Follow(poll_s=0)

    def grow() -> None:
        nonlocal at
        if at == len(content):
            follow.stop.set()
        # single bytes about the first records, then pieces of a writer's buffer
        n = 1 if at < 300 else rng.randint(1, 2 * len(content) // 50)
        with open(path, "ab") as f:
            f.write(content[at : at + n])
        at = min(at + n, len(content))

    follow.idle = grow
    accounts = Accounts()
    got = table(meter_captures([path], sensor_id="s", follow=follow, accounts=accounts))
    (tmp_path / "whole").write_bytes(content)
    expected = table(meter_captures([tmp_path / "whole"], sensor_id="s"))
    assert got.num_rows == expected.num_rows > 300
    assert got.equals(expected)
    assert accounts.balanced
    assert not accounts.truncated


def test_idle_flows_close_by_the_packets_that_follow(tmp_path: Path) -> None:
    """While the file is silent they stay open, however long that is."""
    path = tmp_path / "x"
    path.write_bytes(c.pcap([(T0, udp(1)), (T0 + 10**9, udp(2))]))
    packets = iter([b"", b"", c.pcap([(T0 + 65 * 10**9, udp(3))])[24:], b"", c.pcap([(T0 + 70 * 10**9, udp(4))])[24:]])
    follow = Follow(poll_s=0)

    def grow() -> None:
        piece = next(packets, None)
        if piece is None:
            follow.stop.set()
        elif piece:
            with open(path, "ab") as f:
                f.write(piece)

    follow.idle = grow
    got = [[(r["src_ip"][-1], r["end_reason"]) for r in batch.to_pylist()] for batch in meter_captures([path], follow=follow)]
    assert [sorted(g) for g in got] == [[("1", "idle"), ("2", "idle")], [("3", "forced"), ("4", "forced")]]


def test_leaving_early_does_not_wait_for_the_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(c.pcap([(T0, udp(1)), (T0 + 100 * 10**9, udp(2)), (T0 + 102 * 10**9, udp(2))]))
    batches = meter_captures([tmp_path / "x"], follow=Follow())
    assert next(batches).num_rows
    batches.close()  # type: ignore[attr-defined]


def test_one_file_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 files"):
        next(meter_captures([tmp_path, tmp_path], follow=Follow()))
    (tmp_path / "x.pcap.gz").write_bytes(b"\x1f\x8b\x08")
    for words, error, what in (
        ([tmp_path, "--follow"], ConfigError, "a folder"),
        ([tmp_path / "a", tmp_path / "b", "--follow"], ConfigError, "2 files"),
        ([tmp_path / "a", "--follow-timeout", "1"], ConfigError, "without --follow"),
        ([tmp_path / "a", "--follow", "--follow-timeout", "nan"], ConfigError, "greater than or equal to 0"),
        ([tmp_path / "x.pcap.gz", "--follow"], CaptureError, "gzip cannot be followed"),
    ):
        with pytest.raises(error, match=what):
            run(["meter", *map(str, words)])


def test_silence_and_replacement_on_the_command_line(
    tmp_path: Path, data: dict[str, bytes], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    capture, flows = tmp_path / "x.pcap", tmp_path / "flows.csv"
    capture.write_bytes(data["pcap"])
    expected = sum(b.num_rows for b in meter_captures([capture]))
    words = ["meter", str(capture), "--follow", "--json", "--out"]
    for name in ("flows.csv", "flows.parquet"):
        assert run([*words, str(tmp_path / name), "--follow-timeout", "0.01"]) == 0
        assert json.loads(capsys.readouterr().out)["flows"] == expected
    assert len(flows.read_text().splitlines()) == 1 + expected

    def replace() -> None:
        (tmp_path / "new").write_bytes(data["pcap"][:24])
        (tmp_path / "new").replace(capture)

    monkeypatch.setattr(meter_command, "follow_one", lambda *_, **__: Follow(poll_s=0, idle=replace))
    with pytest.raises(CaptureError, match="another file took its name"):
        run([*words, str(flows)])
    assert json.loads(capsys.readouterr().out)["flows"] == expected
    assert len(flows.read_text().splitlines()) == 1 + expected
    assert not list(tmp_path.glob(".*"))
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_growing_csv_is_there_with_its_first_records(tmp_path: Path, data: dict[str, bytes]) -> None:
    (tmp_path / "x.pcap").write_bytes(data["pcap"])
    path = tmp_path / "flows.csv"
    batch = pa.Table.from_batches(meter_captures([tmp_path / "x.pcap"])).slice(0, 4).to_batches()[0]
    path.write_text("of yesterday")
    with RecordWriter(path, growing=True) as writer:
        assert path.read_text() == "of yesterday"
        for n in (1, 2):
            writer.write([batch])
            assert len(path.read_text().splitlines()) == 1 + 4 * n
    assert len(path.read_text().splitlines()) == 9
    with pytest.raises(AttributeError), RecordWriter(path, growing=True) as writer:
        writer.write([batch, None])  # type: ignore[list-item]
    assert len(path.read_text().splitlines()) == 5, "what was there when it failed stays"
    with RecordWriter(path, growing=True):
        pass
    assert len(path.read_text().splitlines()) == 1
    with RecordWriter(tmp_path / "flows.parquet", growing=True) as writer:
        writer.write([batch])
        assert not (tmp_path / "flows.parquet").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["flows.csv", "flows.parquet", "x.pcap"]


def until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for it, as long as the process lives."""
    while not true():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "to_file"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
def test_signal_ends_it_in_good_order(tmp_path: Path, number: signal.Signals, to_file: bool) -> None:
    """Records are there while it runs; a half written one is waited for; a signal closes what is open, and the exit code is 0."""
    capture, flows = tmp_path / "x.pcap", tmp_path / "flows.csv"
    first = c.pcap([(T0, udp(1)), (T0 + 100 * 10**9, udp(2)), (T0 + 102 * 10**9, udp(2))])
    rest = c.pcap([(T0 + 200 * 10**9, udp(3)), (T0 + 300 * 10**9, udp(4)), (T0 + 302 * 10**9, udp(4))])[24:]
    command = [sys.executable, "-m", "ops.cli.main", "meter", str(capture), "--follow", *(["--out", str(flows)] if to_file else [])]
    shown = flows if to_file else tmp_path / "stdout"

    def rows() -> list[dict[str, str]]:
        if not shown.exists():
            return []
        with open(shown, newline="") as f:
            return list(csv.DictReader(f))

    with (
        open(tmp_path / "stdout", "wb") as out,
        subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.PIPE, text=True) as process,
    ):
        try:
            capture.write_bytes(first + rest[:50])
            until(lambda: len(rows()) >= 1, process)
            assert [r["Src IP"] for r in rows()] == ["10.0.0.1"]
            with open(capture, "ab") as f:
                f.write(rest[50:] + rest[:9])
            until(lambda: len(rows()) >= 3, process)
            os.kill(process.pid, number)
            _, told = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, told
    assert sorted(r["Src IP"] for r in rows()) == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]
    assert "following" in told
    assert "error" not in told
    assert "warning" not in told
    assert "4 flows of 6 packets" in told
