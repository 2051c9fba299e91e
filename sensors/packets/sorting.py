"""All packets of one capture in time order, however far out of order they are, in bounded memory.

For captures that :mod:`sensors.packets.ordering` cannot put right: files of several taps put one behind the other, ring buffers that
were read in the wrong order, clocks that were set back by seconds. An external merge sort: pieces that fit are sorted and
written to temporary files, which are then merged. (DuckDB's sort was tried first: it needs all frames in memory.)
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from infra.errors import CaptureError
from schemas.wire import PACKET_SCHEMA
from sensors.packets.encoding import from_arrow, to_arrow
from sensors.packets.frames import FrameBatch, concat
from sensors.packets.ordering import by_time

#: Frame bytes, and packets, that are sorted at once.
PIECE_BYTES, PIECE_PACKETS = 64 * 1024 * 1024, 1 << 20
#: Of each piece so many packets, or bytes, are in memory while they are merged.
_PART_BYTES, _PART_PACKETS = 256 * 1024, 2048


def sort_by_time(batches: Iterable[FrameBatch], *, piece_bytes: int = PIECE_BYTES) -> Iterator[FrameBatch]:
    """The same packets in order of (capture time, position in the capture).

    Parameters
    ----------
    batches
        Frames in capture order; read to their end before the first is given back.
    piece_bytes
        Frame bytes that are sorted in memory at once. What is more lies in temporary files (``TMPDIR``), removed at the end.

    Raises
    ------
    CaptureError
        There is no room for the temporary files.
    """
    with tempfile.TemporaryDirectory(prefix="flowlake-sort-") as folder:
        files: list[Path] = []
        for piece in _pieces(batches, piece_bytes):
            files.append(Path(folder) / str(len(files)))
            try:
                _write(files[-1], piece)
            except OSError as e:
                raise CaptureError(f"packets cannot be sorted in {folder}: {e.strerror or e}", "make room, or set TMPDIR") from e
        yield from _merged([_Piece(file) for file in files])


def _pieces(batches: Iterable[FrameBatch], most: int) -> Iterator[FrameBatch]:
    """Sorted pieces of about ``most`` frame bytes."""
    held: list[FrameBatch] = []
    for batch in batches:
        held.append(batch.compact())
        if sum(b.nbytes for b in held) >= most or sum(len(b) for b in held) >= PIECE_PACKETS:
            yield by_time(concat(held))
            held = []
    if held:
        yield by_time(concat(held))


def _write(file: Path, piece: FrameBatch) -> None:
    rows = max(1, min(_PART_PACKETS, _PART_BYTES * len(piece) // max(piece.nbytes, 1)))
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, PACKET_SCHEMA, options=options) as writer:
        for at in range(0, len(piece), rows):
            part = piece.slice(at, at + rows)
            writer.write_batch(to_arrow(part, np.zeros(len(part), np.uint32)))


class _Piece:
    """A sorted piece on disk, of which one part is in memory: ``part``, empty at the end."""

    def __init__(self, file: Path) -> None:
        self._source = pa.OSFile(str(file))
        self._reader = pa.ipc.open_stream(self._source)
        self.part = FrameBatch.empty()
        self.last = False  # nothing follows the part
        self._next = self._read()
        self.take(0)

    def _read(self) -> FrameBatch | None:
        try:
            return from_arrow(self._reader.read_next_batch())
        except StopIteration:
            self._source.close()
            return None

    def take(self, n: int) -> FrameBatch:
        """Take out the first ``n`` frames of the part; the next part follows when it is empty."""
        taken, self.part = self.part.slice(0, n), self.part.slice(n)
        if not len(self.part) and self._next is not None:
            self.part, self._next = self._next, self._read()
            self.last = self._next is None
        return taken


def _merged(pieces: list[_Piece]) -> Iterator[FrameBatch]:
    while pieces := [piece for piece in pieces if len(piece.part)]:
        # Up to the end of the part that ends first nothing can come any more; of those that end at the same time, the first.
        ends = [(int(piece.part.ts[-1]), i) for i, piece in enumerate(pieces) if not piece.last]
        bound, first = min(ends, default=(np.iinfo(np.int64).max, len(pieces)))
        due = [piece.take(int(np.searchsorted(piece.part.ts, bound, "right" if i <= first else "left"))) for i, piece in enumerate(pieces)]
        yield by_time(concat(due))
