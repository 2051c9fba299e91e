"""Compressed captures: every codec, members behind each other, cut and damaged ones up to the damage, bombs within bounds."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest
from backports import zstd

from sensors.packets.bytestream import ByteStream
from tests.unit.sensors.packets import captures as c
from tests.unit.sensors.packets.test_capture import PACKETS, T0, read

CODECS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
    "lz4": lambda data: lz4.frame.compress(data, block_size=lz4.frame.BLOCKSIZE_MAX64KB, content_checksum=True, block_checksum=True),
    "xz": lzma.compress,
    "bzip2": lambda data: bz2.compress(data, 1),
}
SKIPPABLE = struct.pack("<II", 0x184D2A50, 70_000) + bytes(range(250)) * 280
each = pytest.mark.parametrize("codec", CODECS)


def traffic(n: int = 4000) -> list[tuple[int, bytes]]:
    """Packets that hardly shrink."""
    rng = random.Random(5)
    return [(T0 + i * 1000, rng.randbytes(200)) for i in range(n)]


@each
def test_whole_and_in_members(tmp_path: Path, codec: str) -> None:
    pack, data = CODECS[codec], c.pcap(traffic())
    for whole in (pack(data), pack(data[:100]) + pack(b"") + pack(data[100:]) + bytes(512)):
        got, reader = read(tmp_path / "x", whole)
        assert got == traffic()
        assert not reader.truncated
        assert reader.bytes_read == reader.size


def test_members_of_several_codecs_and_frames_without_content(tmp_path: Path) -> None:
    data = c.pcap(PACKETS)
    pieces = [data[i * 100 : (i + 1) * 100] for i in range(len(data) // 100 + 1)]
    packs = list(CODECS.values())
    whole = SKIPPABLE + SKIPPABLE.join(packs[i % len(packs)](piece) for i, piece in enumerate(pieces)) + SKIPPABLE
    got, reader = read(tmp_path / "x", whole)
    assert (got, reader.problem) == (PACKETS, "")
    got, reader = read(tmp_path / "x", whole[:-1])
    assert got == PACKETS
    assert "zstd data end early" in reader.problem or "end early" in reader.problem


@pytest.mark.parametrize("compress", [lambda d: zstd.compress(d, 19), lambda d: lz4.frame.compress(d, block_linked=False, store_size=True)])
def test_other_frame_headers(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    """Single-segment frames with their size; blocks that repeat one byte, and blocks that are not compressed."""
    packets = [(T0 + i, bytes(100_000)) for i in range(5)] + traffic(500)
    got, reader = read(tmp_path / "x", compress(c.pcap(packets, "ns")))
    assert (got, reader.problem) == (packets, "")


def unharmed(got: list[tuple[int, bytes]], packets: list[tuple[int, bytes]]) -> int:
    """Packets before the first that is not what it was: where blocks have no checksum, changed bytes may come through."""
    assert len(got) <= len(packets)
    return next((i for i, (a, b) in enumerate(zip(got, packets, strict=False)) if a != b), len(got))


#: What may be missing in front of the place of damage: a block that cannot be decoded as a whole.
BLOCK = {"gzip": 2_000, "zstd": 128 * 1024, "lz4": 64 * 1024, "xz": 4_000, "bzip2": 100_000}


@each
@pytest.mark.parametrize("at", [0.3, 0.9])
def test_what_lies_before_a_cut_or_damage_is_delivered(tmp_path: Path, codec: str, at: float) -> None:
    packets = traffic()
    data = c.pcap(packets)
    whole = CODECS[codec](data)
    place = int(len(whole) * at)
    for broken, why in (
        (whole[:place], "cut"),
        (whole[:place] + bytes(b ^ 0x55 for b in whole[place : place + 400]) + whole[place + 400 :], "damaged"),
    ):
        got, reader = read(tmp_path / "x", broken)
        assert unharmed(got, packets) * 216 > len(data) * at - BLOCK[codec] - 2_000
        assert reader.truncated
        assert why == "damaged" or f"{codec} data end early" in reader.problem


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_blocks_before_the_damaged_one_survive_however_small_they_are(tmp_path: Path, codec: str) -> None:
    """A thousand to one: many blocks lie within the bytes that are read at once."""
    packets = [(T0 + i * 1000, bytes(60_000)) for i in range(40)]
    whole = CODECS[codec](c.pcap(packets))
    assert len(whole) < 20_000
    got, reader = read(tmp_path / "x", whole[:-5] + b"\xff" + whole[-4:])  # within the last block, or the checksum of all
    assert unharmed(got, packets) >= 37
    assert reader.truncated


@each
def test_something_else_behind(tmp_path: Path, codec: str) -> None:
    got, reader = read(tmp_path / "x", CODECS[codec](c.pcap(PACKETS)) + b"not compressed")
    assert got == PACKETS
    assert "followed by something else" in reader.problem


@each
def test_every_way_to_cut_it_is_read(tmp_path: Path, codec: str) -> None:
    """The reading of a pipe asks for a byte at a time; so does this, of a decoder."""
    from sensors.packets.codecs import decoder_of

    data = c.pcap(PACKETS)
    decoder, out = decoder_of(codec), b""
    for byte in CODECS[codec](data):
        given = bytes([byte])
        while given or not (decoder.needs_input or decoder.eof):
            out += decoder.decode(given, 7)
            given = b""
    assert out == data
    assert decoder.eof
    assert not decoder.unused


def bomb(path: Path, codec: str) -> None:
    """A capture header, then 512 MB of zeros in some kB or MB."""
    zeros = CODECS[codec](bytes(16 * 1024 * 1024))
    path.write_bytes(CODECS[codec](c.pcap(PACKETS) + struct.pack("<IIII", 1, 1, 60, 60)) + zeros * 32)


@pytest.mark.parametrize("codec", ["gzip", "zstd", "lz4", "xz"])
def test_a_bomb_takes_no_memory(tmp_path: Path, codec: str) -> None:
    bomb(tmp_path / "bomb", codec)
    code = f"""
import resource, sys
from sensors.packets.bytestream import ByteStream
resource.setrlimit(resource.RLIMIT_AS, ({4 << 30}, {4 << 30}))
stream, view, n = ByteStream({str(tmp_path / "bomb")!r}), memoryview(bytearray(1 << 20)), 0
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
while got := stream.read_into(view):
    n += got
print(n, stream.damage or "whole", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    n, state, grown_kib = done.stdout.split()
    assert int(n) == len(c.pcap(PACKETS)) + 16 + 32 * 16 * 1024 * 1024
    assert state == "whole"
    assert int(grown_kib) < 64 * 1024


def test_memory_that_a_file_may_ask_for(tmp_path: Path) -> None:
    """Windows beyond what zstd takes by default, and dictionaries of xz beyond our bound, are refused by name."""
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 30})
    big = compressor.compress(c.pcap(PACKETS), mode=zstd.ZstdCompressor.FLUSH_BLOCK) + compressor.flush()
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 30}]
    for data, why in ((big, "zstd data are damaged"), (lzma.compress(c.pcap(PACKETS), filters=filters), "xz data are damaged")):
        (tmp_path / "x").write_bytes(data)
        stream = ByteStream(tmp_path / "x")
        assert stream.read_into(memoryview(bytearray(4096))) == 0
        assert stream.damage.startswith(why)
        assert "emory" in stream.damage
        stream.close()
