"""Bytes of a capture file, plain or gzip (recognised by content), as blocks; keeps what a damaged gzip file still holds.

The ``gzip`` module loses what it had already decompressed when a member turns out to be cut or damaged; here everything in
front of the damage is delivered, and the damage is reported once, at the end.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from infra.errors import CaptureError

GZIP_MAGIC = b"\x1f\x8b"
_PIECE = 256 * 1024  # compressed bytes read at once
_MOST = 1024 * 1024  # decompressed bytes taken at once: bounds what a gzip bomb can do


class ByteStream:
    """Sequential reader of one file.

    Attributes
    ----------
    size : int
        Bytes of the file on disk.
    bytes_read : int
        Bytes of the file on disk read so far (compressed ones for gzip).
    damage : str
        Why a gzip file ended early; empty while it did not.

    Raises
    ------
    CaptureError
        The file is missing, not a file, or not readable.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.damage = ""
        self.bytes_read = 0
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as e:
            raise CaptureError(f"capture file {path}: no such file", "check the path") from e
        except PermissionError as e:
            raise CaptureError(f"capture file {path}: permission denied", f"make it readable: chmod +r {path}") from e
        except OSError as e:
            raise CaptureError(f"capture file {path}: {e.strerror}") from e
        except ValueError as e:  # a NUL byte in the name
            raise CaptureError(f"capture file {str(path)!r}: {e}") from e
        try:
            if self.path.is_dir():
                raise CaptureError(f"capture file {path}: is a directory", "name a pcap or pcapng file")
            self.size = os.fstat(self._fd).st_size
            self._raw = self._file_bytes(_PIECE)
        except BaseException:
            self.close()
            raise
        self.gzip = self._raw.startswith(GZIP_MAGIC)
        self._inflate = zlib.decompressobj(wbits=31)
        self._member_begun = False
        self._rescued: list[bytes] = []

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read_into(self, view: memoryview) -> int:
        """Fill ``view`` as far as the file goes; number of bytes, less than asked for only at the end."""
        got = 0
        while got < len(view):
            piece = self._next(len(view) - got)
            if not piece:
                break
            view[got : got + len(piece)] = piece
            got += len(piece)
        return got

    def _file_bytes(self, most: int) -> bytes:
        try:
            data = os.read(self._fd, most)
        except OSError as e:
            raise CaptureError(f"capture file {self.path}: {e.strerror} at byte {self.bytes_read}") from e
        self.bytes_read += len(data)
        return data

    def _next(self, most: int) -> bytes:
        """At most ``most`` further bytes; empty at the end."""
        if self.gzip:
            return self._inflated(min(most, _MOST))
        if self._raw:
            piece, self._raw = self._raw[:most], self._raw[most:]
            return piece
        return self._file_bytes(most)

    def _inflated(self, most: int) -> bytes:
        while True:
            if self._rescued:
                piece = self._rescued.pop(0)
                if len(piece) > most:
                    self._rescued.insert(0, piece[most:])
                return piece[:most]
            if self.damage:
                return b""
            if self._inflate.eof:  # the next member, or zero padding, or the end
                self._raw = self._inflate.unused_data or self._raw
                self._inflate = zlib.decompressobj(wbits=31)
                self._member_begun = False
                if not self._skip_padding():
                    return b""
            if not self._raw:
                self._raw = self._file_bytes(_PIECE)
                if not self._raw:
                    if self._member_begun:
                        self.damage = "gzip data end early"
                    return b""
            out = self._step(most)
            if out:
                return out

    def _skip_padding(self) -> bool:
        """Skip zero bytes behind a member; False at the end of the file."""
        while True:
            self._raw = self._raw.lstrip(b"\0")
            if self._raw:
                return True
            self._raw = self._file_bytes(_PIECE)
            if not self._raw:
                return False

    def _step(self, most: int) -> bytes:
        self._member_begun = True
        before = self._inflate.copy()
        try:
            out = self._inflate.decompress(self._raw, most)
        except zlib.error as e:
            self.damage = f"gzip data are damaged ({e})"
            self._rescued = self._rescue(before, self._raw, most)
            return b""
        self._raw = self._inflate.unconsumed_tail
        return out

    @staticmethod
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
