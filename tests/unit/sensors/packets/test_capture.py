"""Capture files of every format come out as they went in; damaged ones up to the damage."""

from __future__ import annotations

import gzip
import logging
import os
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.errors import CaptureError
from sensors.packets.capture import CaptureReader
from sensors.packets.frames import concat
from tests.unit.sensors.packets import captures as c

T0 = 1_700_000_000_123_456_000
PACKETS = [(T0 + i * 1_000, bytes([i]) * (20 + i)) for i in range(50)]


def read(path: Path, data: bytes, snaplen: int = 262144) -> tuple[list[tuple[int, bytes]], CaptureReader]:
    path.write_bytes(data)
    reader = CaptureReader(path, snaplen)
    batch = concat(list(reader))
    assert reader.packets == len(batch)
    return [(int(batch.ts[i]), batch.frame(i)) for i in range(len(batch))], reader


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["us", "ns", "modified"])
def test_pcap(tmp_path: Path, kind: str, order: str) -> None:
    packets = [(t + (7 if kind == "ns" else 0), f) for t, f in PACKETS]
    got, reader = read(tmp_path / "x", c.pcap(packets, kind, order, link=113))
    assert got == packets
    assert not reader.truncated
    batch = concat(list(CaptureReader(tmp_path / "x")))
    assert set(batch.link_type.tolist()) == {113}
    assert batch.wire_len.tolist() == [len(f) + 7 for _, f in packets]


def test_pcap_fcs_bits_of_the_link_type_are_masked(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(c.pcap(PACKETS[:1], link=(0x2 << 28) | (1 << 26) | 127))
    assert concat(list(CaptureReader(tmp_path / "x"))).link_type.tolist() == [127]


def test_snap_length_cuts_frames_and_leaves_wire_length(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(c.pcap([(T0, bytes(1500)), (T0, b"ab")]))
    batch = concat(list(CaptureReader(tmp_path / "x", snaplen=64)))
    assert [len(batch.frame(0)), len(batch.frame(1))] == [64, 2]
    assert batch.wire_len.tolist() == [1507, 9]


def test_files_put_together_with_cat(tmp_path: Path) -> None:
    data = c.pcap(PACKETS[:3], "us", "<", 1) + c.pcap(PACKETS[3:5], "ns", ">", 101)
    got, reader = read(tmp_path / "x", data)
    assert got == PACKETS[:5]
    assert not reader.truncated


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_blocks(tmp_path: Path, order: str) -> None:
    us = T0 // 1000
    data = (
        c.section(order)
        + c.interface(1, order)
        + c.enhanced(us, b"first", order, options=c.option(1, b"a comment", order))
        + c.block(0x0BAD, b"unknown block" * 9, order)
        + c.obsolete(us + 1, b"old!", order)
        + c.simple(b"none", order)
        + c.block(5, bytes(20), order)
        + c.enhanced(us + 2, b"", order)
    )
    got, reader = read(tmp_path / "x", data)
    # A simple packet block has no time: it takes that of the packet before it.
    assert got == [(T0, b"first"), (T0 + 1000, b"old!"), (T0 + 1000, b"none"), (T0 + 2000, b"")]
    assert not reader.truncated


@pytest.mark.parametrize(
    ("options", "count", "expected"),
    [
        ([], 1_000_001, 1_000_001_000),
        ([c.option(9, bytes([9]))], 1_000_000_001, 1_000_000_001),
        ([c.option(9, bytes([3]))], 1_001, 1_001_000_000),
        ([c.option(9, bytes([0]))], 5, 5_000_000_000),
        ([c.option(9, bytes([12]))], 1_000_000_001_999, 1_000_000_001),
        ([c.option(9, bytes([0x80 | 1]))], 3, 1_500_000_000),
        ([c.option(9, bytes([0x80 | 20]))], (7 << 20) | (1 << 19), 7_500_000_000),
        ([c.option(9, bytes([0x80 | 40]))], (7 << 40) | (1 << 39), 7_500_000_000),
        ([c.option(2, b"eth0"), c.option(9, bytes([6])), c.option(14, struct.pack("<q", 100))], 1_000_000, 101_000_000_000),
        ([c.option(14, struct.pack("<q", -1))], 3_000_000, 2_000_000_000),
        ([c.option(14, struct.pack("<q", -(2**62)))], 3_000_000, 0),
        ([c.option(9, bytes([0]))], 2**64 - 1, 1 << 62),
    ],
)
def test_pcapng_time_resolution_and_offset(tmp_path: Path, options: list[bytes], count: int, expected: int) -> None:
    got, _ = read(tmp_path / "x", c.section() + c.interface(options=options) + c.enhanced(count, b"x"))
    assert got == [(expected, b"x")]


def test_pcapng_sections_and_interfaces(tmp_path: Path) -> None:
    nano = [c.option(9, bytes([9]), ">")]
    data = (
        c.section("<") + c.interface(1) + c.interface(101) + c.enhanced(5, b"aa", number=1) + c.enhanced(6, b"bb", number=0)
        + c.section(">") + c.interface(228, ">", nano) + c.enhanced(7, b"cc", ">")
    )  # fmt: skip
    (tmp_path / "x").write_bytes(data)
    batch = concat(list(CaptureReader(tmp_path / "x")))
    assert batch.link_type.tolist() == [101, 1, 228]
    assert batch.ts.tolist() == [5000, 6000, 7]


def test_simple_packet_block_is_cut_at_the_snap_length_of_the_interface(tmp_path: Path) -> None:
    data = c.section() + c.interface(snaplen=6) + c.block(3, struct.pack("<I", 100) + b"abcdef")
    (tmp_path / "x").write_bytes(data)
    batch = concat(list(CaptureReader(tmp_path / "x")))
    assert batch.frame(0) == b"abcdef"
    assert batch.wire_len.tolist() == [100]


def test_unknown_block_longer_than_the_read_buffer(tmp_path: Path) -> None:
    data = c.section() + c.interface() + c.enhanced(1, b"aa") + c.block(0x0BAD, bytes(9_000_000)) + c.enhanced(2, b"bb")
    got, reader = read(tmp_path / "x", data)
    assert got == [(1000, b"aa"), (2000, b"bb")]
    assert not reader.truncated


def test_many_batches_and_blocks(tmp_path: Path) -> None:
    packets = [(T0 + i * 1000, i.to_bytes(4, "big") * (i % 40)) for i in range(150_000)]
    got, _ = read(tmp_path / "x", c.pcap(packets))
    assert got == packets


def test_gzip_is_known_by_its_content(tmp_path: Path) -> None:
    data = c.pcap(PACKETS)
    got, reader = read(tmp_path / "plain.pcap", gzip.compress(data[:100]) + gzip.compress(data[100:]) + bytes(512))
    assert got == PACKETS
    assert not reader.truncated
    assert reader.bytes_read == reader.size
    got, _ = read(tmp_path / "not-compressed.gz", data)
    assert got == PACKETS


def test_cut_gzip_gives_what_is_there(tmp_path: Path) -> None:
    packets = [(T0 + i * 1000, os.urandom(200)) for i in range(1000)]
    whole = gzip.compress(c.pcap(packets))
    got, reader = read(tmp_path / "x", whole[: len(whole) // 2])
    assert 400 < len(got) < 600
    assert got == packets[: len(got)]
    assert reader.truncated
    broken = bytearray(whole)
    broken[-6] ^= 1  # the checksum alone: every packet is there
    got, reader = read(tmp_path / "x", bytes(broken))
    assert got == packets
    assert reader.truncated
    assert "gzip" in reader.problem


@pytest.mark.parametrize("cut", [1, 5, 15, 16, 17, 25, 35])
def test_cut_pcap(tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture) -> None:
    data = c.pcap(PACKETS[:2])
    last = 16 + len(PACKETS[1][1])
    with caplog.at_level(logging.WARNING):
        got, reader = read(tmp_path / "cut.pcap", data[: len(data) - last + cut])
    assert got == PACKETS[:1]
    assert reader.truncated
    assert reader.missing == (16 if cut < 16 else last) - cut
    offset = len(data) - last
    assert f"cut.pcap: ends within a record ({cut} of {reader.missing + cut} bytes there) at byte {offset}" in caplog.text


@pytest.mark.parametrize("cut", [1, 8, 11, 12, 30])
def test_cut_pcapng(tmp_path: Path, cut: int) -> None:
    start = c.section() + c.interface() + c.enhanced(1, b"aa")
    got, reader = read(tmp_path / "x", start + c.enhanced(2, b"bbbb")[:cut])
    assert got == [(1000, b"aa")]
    assert reader.truncated


def test_cut_at_a_record_is_not_truncated(tmp_path: Path) -> None:
    got, reader = read(tmp_path / "x", c.pcap([]))
    assert got == []
    assert not reader.truncated


@pytest.mark.parametrize(
    "tail",
    [
        struct.pack("<IIII", 1, 1, 262_145, 262_145) + bytes(300_000),  # longer than any packet
        struct.pack("<IIII", 1, 1, 0xFFFFFFFF, 60) + bytes(100),
        bytes(4096),  # the unwritten end of a preallocated file
    ],
)
def test_impossible_pcap_record(tmp_path: Path, tail: bytes) -> None:
    got, reader = read(tmp_path / "x", c.pcap(PACKETS) + tail)
    assert got == PACKETS
    assert reader.truncated
    assert "impossible record length" in reader.problem


@pytest.mark.parametrize(
    "tail",
    [
        struct.pack("<II", 6, 8),
        struct.pack("<II", 6, 4_000_000_000) + bytes(100),
        struct.pack("<II", 99, 13) + bytes(100),
        struct.pack("<II", 99, 0) + bytes(100),
        c.enhanced(1, b"zz", number=7),  # no such interface
        struct.pack("<IIIIIII", 6, 36, 0, 0, 1, 5, 5) + bytes(8),  # packet longer than its block
        c.block(0x0A0D0D0A, b"ABCDEFGH" + bytes(8)),
        c.interface(options=[c.option(9, bytes([77]))]),
        c.block(1, b"ab"),
    ],
)
def test_impossible_pcapng_block(tmp_path: Path, tail: bytes) -> None:
    got, reader = read(tmp_path / "x", c.section() + c.interface() + c.enhanced(1, b"aa") + tail)
    assert got == [(1000, b"aa")]
    assert reader.truncated


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"GET / HTTP/1.1\r\n", "neither pcap nor pcapng"),
        (b"\xd4\xc3", "neither pcap nor pcapng"),
        (c.pcap([])[:20], "within the file header"),
        (c.section()[:10], "within the file header"),
        (b"\x0a\x0d\x0d\x0a" + bytes(40), "byte-order magic"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (gzip.compress(b"hello", mtime=0), "neither pcap nor pcapng"),
        (b"\x1f\x8bnot gzip at all", "gzip"),
    ],
)
def test_no_capture_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "some.file"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match=message) as e:
        CaptureReader(path)
    assert str(path) in str(e.value)
    assert "\n" not in str(e.value)


def test_missing_and_directory(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="no such file"):
        CaptureReader(tmp_path / "absent")
    with pytest.raises(CaptureError, match="is a directory"):
        CaptureReader(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(c.pcap(PACKETS))
    path.chmod(0)
    with pytest.raises(CaptureError, match="permission denied"):
        CaptureReader(path)


_HEADS = st.sampled_from(
    [b"", c.pcap([]), c.pcap([], "ns", ">"), c.pcap(PACKETS[:2]), c.section() + c.interface(), c.section(">"), b"\x1f\x8b\x08"]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(head=_HEADS, body=st.binary(max_size=600))
def test_any_bytes_are_read_or_refused(tmp_path: Path, head: bytes, body: bytes) -> None:
    path = tmp_path / "fuzz"
    path.write_bytes(head + body)
    try:
        reader = CaptureReader(path)
    except CaptureError:
        return
    delivered = sum(b.nbytes for b in reader)
    assert delivered <= len(head) + len(body) or reader._stream.codec


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_byte_never_breaks_the_reader(tmp_path: Path, data: st.DataObject) -> None:
    whole = bytearray(
        data.draw(
            st.sampled_from(
                [
                    c.pcap(PACKETS[:5]),
                    c.section() + c.interface() + b"".join(c.enhanced(i, f) for i, (_, f) in enumerate(PACKETS[:5])),
                    gzip.compress(c.pcap(PACKETS[:5])),
                ]
            )
        )
    )
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "flip"
    path.write_bytes(bytes(whole))
    try:
        reader = CaptureReader(path)
    except CaptureError:
        return
    for batch in reader:
        assert (batch.ts >= 0).all()
        assert (batch.offsets[1:] >= batch.offsets[:-1]).all()


def test_real_captures_equal_scapy(flowlake_data: Path) -> None:
    from scapy.utils import RawPcapReader

    files = sorted((flowlake_data / "pcaps").iterdir())
    assert files
    for path in files:
        expected = []
        with RawPcapReader(str(path)) as reader:
            for frame, meta in reader:
                if hasattr(meta, "sec"):
                    ts = meta.sec * 10**9 + meta.usec * (1 if reader.nano else 1000)
                else:
                    ts = ((meta.tshigh << 32) | meta.tslow) * 10**9 // int(meta.tsresol)
                expected.append((ts, meta.wirelen, frame))
        batch = concat(list(CaptureReader(path, 262144)))
        assert [(int(batch.ts[i]), int(batch.wire_len[i]), batch.frame(i)) for i in range(len(batch))] == expected, path.name
