"""Damaged capture files: refused with a CaptureError, or read up to the damage; nothing else, and nothing unaccounted for."""

from __future__ import annotations

import gzip
import random
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from sensors.packets import capture
from sensors.packets.capture import CaptureReader
from sensors.packets.frames import concat
from tests.fuzz import check, mutate, shrink
from tests.fuzz.budget import rounds
from tests.fuzz.corpus import Seed
from tests.unit.sensors.packets import captures

SEED = 20_240_502


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Each damaged file is warned about, which is meant and is not the report."""
    caplog.set_level("ERROR")


def test_damaged_files(corpus: Sequence[Seed]) -> None:
    for i in rounds(0.25):
        data = mutate.capture(random.Random(f"{SEED} files {i}"), corpus)
        if check.file_faults(data):
            small = shrink.data(data, lambda b: bool(check.file_faults(b)))
            pytest.fail("\n".join([f"round {i}", *check.file_faults(small), f"bytes.fromhex({small.hex()!r})"]))


def test_every_cut_of_a_file(corpus: Sequence[Seed]) -> None:
    """A file may end behind any byte; what there is of it is the beginning of what the whole one holds."""
    r = random.Random(SEED)
    packets = [(mutate.T0 + i * 1000, mutate.frame(r, corpus).data[:30]) for i in range(3)]
    blocks = captures.section(">") + captures.interface(1, ">", [captures.option(9, b"\x09", ">")])
    blocks += b"".join(captures.enhanced(t, f, ">") for t, f in packets) + captures.simple(b"abc", ">")
    for data in (captures.pcap(packets, "modified", ">"), blocks, gzip.compress(captures.pcap(packets, "ns"), mtime=0)):
        for n in range(len(data)):
            assert check.file_faults(data[:n]) == [], f"the first {n} bytes of {data.hex()}"


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_where_a_block_of_the_file_ends_does_not_matter(
    tmp_path: Path, corpus: Sequence[Seed], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The least block that a record fits in, and the usual one, over a file of several, damaged near its end."""
    r = random.Random(f"{SEED} {kind}")
    packets = [(mutate.T0 + i * 1000, mutate.frame(r, corpus).data * 8) for i in range(1500)]
    if kind == "pcap":
        data = bytearray(captures.pcap(packets))
    else:
        data = bytearray(captures.section() + captures.interface() + b"".join(captures.enhanced(t // 1000, f) for t, f in packets))
    for i in range(-3000, 0, 97):
        data[i] ^= r.randrange(256)
    path = tmp_path / "frames"
    path.write_bytes(data)
    whole = concat(list(CaptureReader(path)))
    assert len(whole) > 1000
    monkeypatch.setattr(capture, "_BLOCK", 2 * capture.MAX_RECORD + 64)
    pieces = concat(list(CaptureReader(path)))
    for name in ("ts", "wire_len", "link_type", "offsets", "data"):
        assert (getattr(whole, name) == getattr(pieces, name)).all(), name


def test_a_small_file_that_unpacks_into_a_large_one_takes_bounded_memory(tmp_path: Path) -> None:
    """200 MB of frames in a file of 200 kB: what is held at once is a block and a batch."""
    path = tmp_path / "frames.gz"
    record = captures.pcap([(mutate.T0, bytes(200_000))])
    path.write_bytes(gzip.compress(record[:24], mtime=0) + gzip.compress(record[24:] * 100, mtime=0) * 10)
    tracemalloc.start()
    try:
        packets = sum(len(batch) for batch in CaptureReader(path, 64))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert packets == 1000
    assert peak < 64 * 1024 * 1024
