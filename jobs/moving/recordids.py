"""Identities of what has none: UUIDs that follow from a line's content, so that whoever reads it again comes to the same.

The same line is the same record, in whatever file it stands: a copy, a rotated piece, an overlapping export. Lines that are alike
within one file are records of their own as long as they follow each other within one time: the second gets another id than the first.
(Where two files hold such twins, the second of the one is the second of the other.) Where a file is cut into blocks does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from uuid import UUID

import numpy as np
import pyarrow as pa

NAMESPACE = UUID("8f6f3c52-2f0b-5c1e-9d0a-6a1b7f0e4c33")
_HEX = np.array([list(f"{i:02x}".encode()) for i in range(256)], np.uint8)
#: Where the 32 digits of a UUID stand among its 36 characters.
_PLACES = np.array([i for i in range(36) if i not in (8, 13, 18, 23)])


class Occurrences:
    """How often a line has stood before, among those of its time that directly precede it."""

    def __init__(self) -> None:
        self._time: int | None = None
        self._seen: dict[bytes, int] = {}

    def numbers(self, lines: Sequence[bytes], us: np.ndarray) -> list[int]:
        """0 for a line that stands for the first time, 1 for the second time, ...

        Parameters
        ----------
        lines
            In the order of the file, those of the block before having been given before.
        us : ndarray of int64
            Their times.
        """
        found = []
        for line, time in zip(lines, us.tolist(), strict=True):
            if time != self._time:
                self._time, self._seen = time, {}
            number = self._seen.get(line, 0)
            self._seen[line] = number + 1
            found.append(number)
        return found


def record_ids(lines: Sequence[bytes], numbers: Sequence[int], record_name: str) -> pa.StringArray:
    """UUIDv5 (RFC 9562, section 5.5) of each line, as text; ``uuid.uuid5`` one by one takes ten times as long."""
    before = NAMESPACE.bytes + record_name.encode() + b"|"
    content = (before + line + b"|%d" % number if number else before + line for line, number in zip(lines, numbers, strict=True))
    digests = b"".join([sha1(text, usedforsecurity=False).digest()[:16] for text in content])
    raw = np.frombuffer(digests, np.uint8).reshape(-1, 16).copy()
    raw[:, 6] = raw[:, 6] & 0x0F | 0x50
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80
    text = np.full((len(raw), 36), ord("-"), np.uint8)
    text[:, _PLACES] = _HEX[raw].reshape(-1, 32)
    ends = np.arange(0, 36 * len(raw) + 1, 36, dtype=np.int32)
    return pa.StringArray.from_buffers(len(raw), pa.py_buffer(ends), pa.py_buffer(text))
