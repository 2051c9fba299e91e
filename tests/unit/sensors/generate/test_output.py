"""Capture file, truth file and command."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from infra.errors import CaptureError, ConfigError
from jobs.sources.packets.commands.generate import start_time
from sensors.generate import TRUTH_SCHEMA, generate, preset, truth, truth_path
from sensors.generate.cut import cut
from sensors.packets.capture import CaptureReader
from sensors.packets.frames import FrameBatch, concat
from sensors.packets.pcapwriter import PcapWriter


def _run(*arguments: str) -> int:
    from ops.cli.main import run

    return run(["sensor", "generate", *arguments])


def test_a_written_file_reads_back_the_same(tmp_path: Path) -> None:
    batches = list(generate(preset("demo", duration_s=2.0, seed=1)))
    with PcapWriter(tmp_path / "x.pcap") as writer:
        for batch in batches:
            writer.write(batch)
    made, read = concat(batches), concat(list(CaptureReader(tmp_path / "x.pcap", 65536)))
    assert writer.packets == len(made) == len(read)
    for name in ("ts", "wire_len", "link_type", "offsets", "data"):
        np.testing.assert_array_equal(getattr(read, name), getattr(made, name))


def test_pcap_header_and_cut_frames(tmp_path: Path) -> None:
    frames = FrameBatch.from_frames([b"abcdef", b"gh"], [1_500_000_000_123_456_789, 1_500_000_001_000_000_001], link_type=101, snaplen=4)
    with PcapWriter(tmp_path / "y.pcap", link_type=101) as writer:
        writer.write(frames)
        writer.write(frames.slice(1, 2))  # a slice keeps its parent's bytes
    raw = (tmp_path / "y.pcap").read_bytes()
    assert struct.unpack_from("<IHHiIII", raw) == (0xA1B23C4D, 2, 4, 0, 0, 262_144, 101)
    assert struct.unpack_from("<IIII4s", raw, 24) == (1_500_000_000, 123_456_789, 4, 6, b"abcd")
    assert struct.unpack_from("<IIII2s", raw, 44) == (1_500_000_001, 1, 2, 2, b"gh")
    assert raw[62:] == raw[44:62]


def test_writer_refuses_another_link_type_and_a_missing_folder(tmp_path: Path) -> None:
    with PcapWriter(tmp_path / "z.pcap") as writer, pytest.raises(CaptureError, match="link type 101"):
        writer.write(FrameBatch.from_frames([b"abc"], [1], link_type=101))
    with pytest.raises(CaptureError, match="nowhere"):
        PcapWriter(tmp_path / "nowhere" / "z.pcap")


def test_cut_keeps_wire_length() -> None:
    whole = next(generate(preset("demo", seed=2, rate=6000.0)))
    short = cut(whole.slice(5, 400), 96)
    assert len(short) == 395
    for i in range(len(short)):
        assert short.frame(i) == whole.frame(5 + i)[:96]
    np.testing.assert_array_equal(short.wire_len, whole.wire_len[5:400])


@pytest.mark.parametrize(
    ("capture", "expected"),
    [
        ("a/x.pcap", "a/x.truth.parquet"),
        ("x.pcap.gz", "x.truth.parquet"),
        ("day.1.pcapng", "day.1.truth.parquet"),
        ("x", "x.truth.parquet"),
    ],
)
def test_truth_lies_beside_the_capture(capture: str, expected: str) -> None:
    assert truth_path(capture) == Path(expected)


def test_command_writes_capture_and_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x.pcap"
    assert not _run("--seed", "5", "--duration", "4", "--rate", "300", "--kinds", "syn-scan,dns", "--out", str(out), "--json")
    report = json.loads(capsys.readouterr().out)
    table = pq.read_table(tmp_path / "x.truth.parquet")
    assert table.schema.equals(TRUTH_SCHEMA)
    assert set(report["labels"]) == {"BENIGN", "SYN_SCAN"} == set(table["label"].to_pylist())
    assert report["packets"] == sum(table["packets"].to_pylist()) == sum(len(b) for b in CaptureReader(out))
    again = truth(preset("demo", seed=5, duration_s=4.0, rate=300.0, kinds=("syn-scan", "dns")))
    assert again.equals(table)


@pytest.mark.parametrize("arguments", [(), ("--out", "x.pcap", "--to-kafka")])
def test_command_wants_one_destination(arguments: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="--out FILE and --to-kafka"):
        _run(*arguments)


def test_command_refuses_a_missing_folder_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="absent"):
        _run("--out", str(tmp_path / "absent" / "x.pcap"))


def test_start_times() -> None:
    assert start_time(None) is None
    assert start_time("2026-01-05T09:00:00Z") == 1_767_603_600_000_000_000
    assert start_time("2026-01-05T10:00:00+01:00") == start_time("2026-01-05 09:00") == 1_767_603_600_000_000_000
    for bad in ("yesterday", "1950-01-01", "3000-01-01"):
        with pytest.raises(ConfigError, match=bad):
            start_time(bad)
