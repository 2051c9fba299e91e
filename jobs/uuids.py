"""UUIDs of hashes, as text: identities of records that are the same wherever and however often a record is made."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
#: Of the 36 characters of a UUID, those that are digits.
_DIGITS = np.array([i for i in range(36) if i not in (8, 13, 18, 23)])


def uuid_texts(high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64]) -> pa.StringArray:
    """UUIDs (version 8, RFC 9562) of two hashes each; six of their bits are the version's and the variant's."""
    octets = np.stack([high, low], axis=1).astype(">u8").view(np.uint8)
    octets[:, 6] = octets[:, 6] & 0x0F | 0x80
    octets[:, 8] = octets[:, 8] & 0x3F | 0x80
    found = np.full((len(high), 36), ord("-"), np.uint8)
    found[:, _DIGITS[::2]], found[:, _DIGITS[1::2]] = _HEX[octets >> 4], _HEX[octets & 15]
    ends = np.arange(0, 36 * len(high) + 1, 36, dtype=np.int32)
    return pa.StringArray.from_buffers(len(high), pa.py_buffer(ends), pa.py_buffer(found))
