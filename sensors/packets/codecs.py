"""Decoders of compressed files: gzip, zstd, lz4, xz and bzip2, known by their magic bytes, member after member.

Every decoder gives what lies in front of damage. A decoder that fails loses what it had already decoded in that call, so each call is given
no more than can fail as one: the blocks of zstd and lz4 one by one (RFC 8878, lz4_Frame_format), small pieces of the others. zlib alone
can be copied and asked again.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Generator
from typing import Any, Protocol

from backports.zstd import ZstdDecompressor, ZstdError
from lz4.frame import LZ4FrameDecompressor

#: zstd and lz4 share these frames without content; parallel compressors put indices into them.
_SKIPPABLE = tuple(bytes([0x50 + i]) + b"\x2a\x4d\x18" for i in range(16))
_XZ_MEMORY = 256 * 1024 * 1024  # bytes; a dictionary may ask for 4 GiB
_LONGEST_HEADER = 16  # bytes of the pieces that say how long others are, at most
_SMALL = 256  # bytes given at once to a decoder whose blocks are not known
#: Lengths of the pieces of a member, one after the other; each short piece is sent back. What follows the last one is the decoder's matter.
_Pieces = Generator[int, bytes, None]


class DamagedData(Exception):
    """Compressed data make no sense; ``rescued`` holds what the failed call had decoded in front of the damage."""

    def __init__(self, why: str, rescued: list[bytes] | None = None) -> None:
        super().__init__(why)
        self.rescued = rescued or []


class Decoder(Protocol):
    """One member of a compressed file. ``eof``: it is complete, ``unused`` follows it."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused(self) -> bytes: ...

    @property
    def needs_input(self) -> bool: ...

    def decode(self, raw: bytes, most: int) -> bytes:
        """At most ``most`` bytes of ``raw`` and of what was given before; ``raw`` is empty as long as no input is needed.

        Raises
        ------
        DamagedData
            The data cannot be decoded.
        """


class _Gzip:
    """zlib, which can be copied: after an error it is asked for ever smaller pieces."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)
        self._rest = b""

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused(self) -> bytes:
        return self._inflate.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._rest

    def decode(self, raw: bytes, most: int) -> bytes:
        raw = self._rest + raw
        before = self._inflate.copy()
        try:
            out = self._inflate.decompress(raw, most)
        except zlib.error as e:
            raise DamagedData(str(e), _rescue(before, raw, most)) from e
        self._rest = self._inflate.unconsumed_tail
        return out


def _rescue(inflate: zlib._Decompress, raw: bytes, most: int) -> list[bytes]:
    """What can be had from ``raw`` in front of the damage: ever smaller pieces of input."""
    rescued: list[bytes] = []
    room = most
    for piece in (4096, 64, 1):
        while raw and room > 0:
            attempt = inflate.copy()
            try:
                out = attempt.decompress(raw[:piece], room)
            except zlib.error:
                break
            rescued.append(out)
            room -= len(out)
            raw = attempt.unconsumed_tail + raw[piece:]
            inflate = attempt
    return [r for r in rescued if r]


class _InPieces:
    """A decoder with the interface of :class:`lzma.LZMADecompressor`, given one piece of the data at a time."""

    def __init__(self, decoder: Any, pieces: _Pieces) -> None:
        self._decoder = decoder
        self._pieces = pieces
        self._piece = next(pieces)  # bytes of the current piece that are still to come
        self._head = bytearray()  # what came of it, as long as it may be a header
        self._raw, self._at = b"", 0  # given, and how much of that the decoder has got
        self._more = False  # the decoder may hold output, though lz4's says that it needs input

    @property
    def eof(self) -> bool:
        return bool(self._decoder.eof)

    @property
    def unused(self) -> bytes:
        return (self._decoder.unused_data or b"") + self._raw[self._at :]  # None: lz4's

    @property
    def needs_input(self) -> bool:
        return self._decoder.needs_input and not self._more and self._at == len(self._raw)

    def decode(self, raw: bytes, most: int) -> bytes:
        if raw:
            self._raw, self._at = self._raw[self._at :] + raw, 0
        out = b""
        try:
            while not out and not self._decoder.eof:
                if self._more or not self._decoder.needs_input:
                    out = self._decoder.decompress(b"", most)
                elif self._at < len(self._raw):
                    out = self._decoder.decompress(self._take(), most)
                else:
                    break
                self._more = len(out) == most
        except (ZstdError, lzma.LZMAError, OSError, RuntimeError) as e:  # the last two: bzip2's, lz4's
            raise DamagedData(str(e)) from e
        return out

    def _take(self) -> bytes:
        taken = self._raw[self._at : self._at + self._piece]
        self._at += len(taken)
        self._piece -= len(taken)
        if len(self._head) < _LONGEST_HEADER:
            self._head += taken
        while self._piece == 0:
            self._piece = _next_piece(self._pieces, bytes(self._head))
            self._head.clear()
        return taken


def _next_piece(pieces: _Pieces, piece: bytes) -> int:
    try:
        return pieces.send(piece)
    except StopIteration:
        return _SMALL


def _zstd_pieces() -> _Pieces:
    """RFC 8878, 3.1.1: frame header, blocks, checksum."""
    descriptor = (yield 5)[4]
    window = 0 if descriptor & 0x20 else 1
    content_size = (0 if window else 1, 2, 4, 8)[descriptor >> 6]
    yield window + (0, 1, 2, 4)[descriptor & 3] + content_size
    last = False
    while not last:
        header = int.from_bytes((yield 3), "little")
        last, repeated = bool(header & 1), header >> 1 & 3 == 1
        yield 1 if repeated else header >> 3
    if descriptor & 4:
        yield 4


def _lz4_pieces() -> _Pieces:
    """lz4_Frame_format, version 1.6: frame header, blocks with their checksums, end mark, checksum."""
    flags = (yield 6)[4]
    yield 1 + (8 if flags & 8 else 0) + (4 if flags & 1 else 0)
    while size := int.from_bytes((yield 4), "little"):
        yield (size & 0x7FFFFFFF) + (4 if flags & 0x10 else 0)
    if flags & 4:
        yield 4


def _small_pieces() -> _Pieces:
    while True:
        yield _SMALL


def _zstd() -> Decoder:
    return _InPieces(ZstdDecompressor(), _zstd_pieces())


def _lz4() -> Decoder:
    return _InPieces(LZ4FrameDecompressor(), _lz4_pieces())


def _xz() -> Decoder:
    return _InPieces(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY), _small_pieces())


def _bzip2() -> Decoder:
    return _InPieces(bz2.BZ2Decompressor(), _small_pieces())


#: name, magic, decoder of one member
_CODECS: tuple[tuple[str, bytes, Callable[[], Decoder]], ...] = (
    ("gzip", b"\x1f\x8b", _Gzip),
    ("zstd", b"\x28\xb5\x2f\xfd", _zstd),
    ("lz4", b"\x04\x22\x4d\x18", _lz4),
    ("xz", b"\xfd7zXZ\x00", _xz),
    ("bzip2", b"BZh", _bzip2),
)
#: What compressed files are called.
ENDINGS = (".gz", ".zst", ".lz4", ".xz", ".bz2")
MAGICS = (*(magic for _, magic, _ in _CODECS), *_SKIPPABLE)


def codec_of(head: bytes) -> str:
    """Name of the compression that data beginning with ``head`` are in, empty for none; frames to be skipped count as zstd's."""
    for name, magic, _ in _CODECS:
        if head.startswith(magic):
            return name
    return "zstd" if head.startswith(_SKIPPABLE) else ""


def decoder_of(name: str) -> Decoder:
    """A decoder for one member of compression ``name``."""
    return next(make for known, _, make in _CODECS if known == name)()


def skippable(head: bytes) -> int:
    """Bytes of the frame without content that begins with ``head`` (8 bytes of it), 0 for any other."""
    return 8 + int.from_bytes(head[4:8], "little") if head.startswith(_SKIPPABLE) else 0
