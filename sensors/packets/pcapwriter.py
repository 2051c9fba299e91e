"""Writing capture files: nanosecond pcap, frames whole.

Format: draft-ietf-opsawg-pcap, magic 0xA1B23C4D; one link type a file.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numba import njit

from infra.errors import CaptureError
from infra.files import PartialFile
from sensors.packets.frames import FrameBatch

#: The name of standard output among capture files.
STDOUT = Path("-")
_MAGIC_NS = 0xA1B23C4D
_SNAPLEN = 262_144
_RECORD = 16


@njit(cache=True)
def _interleave(headers, data, offsets, out):  # type: ignore[no-untyped-def]
    at = 0
    for i in range(headers.shape[0]):
        for k in range(16):
            out[at + k] = headers[i, k]
        at += 16
        for k in range(offsets[i], offsets[i + 1]):
            out[at] = data[k]
            at += 1


class PcapWriter:
    """A pcap file being written; a context manager.

    Parameters
    ----------
    path
        Where; ``Path("-")`` is standard output. A file appears under its name only when it is whole, and replaces one then.
    link_type
        LINKTYPE_* of every frame.

    Raises
    ------
    CaptureError
        The file cannot be written, or a frame is of another link type.
    """

    def __init__(self, path: str | Path, link_type: int = 1) -> None:
        self.path, self.link_type = Path(path), link_type
        self.packets, self.bytes = 0, len(self._header())
        to_stdout = self.path == STDOUT
        if to_stdout and (sys.stdout is None or sys.stdout.isatty()):
            what = "is closed" if sys.stdout is None else "is a terminal"
            raise CaptureError(f"standard output: {what}", "pipe it into another program, or name a file")
        try:
            self._partial = None if to_stdout else PartialFile(self.path)
            self._file: BinaryIO = self._partial.file if self._partial else os.fdopen(os.dup(1), "wb")
            self._file.write(self._header())
        except OSError as e:
            raise CaptureError(f"cannot write {path}: {e.strerror}", "name a folder that exists and is writable") from e

    def write(self, frames: FrameBatch) -> None:
        """Append frames, in the order given."""
        if len(frames) == 0:
            return
        out = self._records(frames)
        try:
            self._file.write(out)
        except BrokenPipeError:  # of standard output: its reader has seen enough
            raise
        except OSError as e:
            raise CaptureError(f"cannot write {self.path}: {e.strerror}", "make room, or name another folder") from e
        self.packets += len(frames)
        self.bytes += len(out)

    def _header(self) -> bytes:
        """What stands at the beginning of the file."""
        return np.array([_MAGIC_NS, 0x00040002, 0, 0, _SNAPLEN, self.link_type], "<u4").tobytes()

    def _records(self, frames: FrameBatch) -> memoryview | bytes:
        """Frames as the file holds them."""
        if (frames.link_type != self.link_type).any():
            other = int(frames.link_type[frames.link_type != self.link_type][0])
            raise CaptureError(
                f"{self.path}: link type {other} in a file of link type {self.link_type}", "write one file for each link type"
            )
        headers = np.empty((len(frames), 4), "<u4")
        headers[:, 0] = frames.ts // 1_000_000_000
        headers[:, 1] = frames.ts % 1_000_000_000
        headers[:, 2] = np.diff(frames.offsets)
        headers[:, 3] = frames.wire_len
        out = np.empty(_RECORD * len(frames) + frames.nbytes, np.uint8)
        _interleave(headers.view(np.uint8), frames.data, frames.offsets, out)
        return out.data

    def close(self) -> None:
        """Flush, close, and give the file its name."""
        try:
            if self._partial is not None:
                self._partial.commit()
            else:
                self._file.close()
        except BrokenPipeError:
            raise
        except OSError as e:
            self._discard()
            raise CaptureError(f"cannot write {self.path}: {e.strerror}", "make room, or name another folder") from e

    def _discard(self) -> None:
        if self._partial is not None:
            self._partial.discard()
        with suppress(OSError):  # what could not be written cannot be flushed either
            self._file.close()

    def __enter__(self) -> PcapWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._discard()
