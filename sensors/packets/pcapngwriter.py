"""Writing pcapng files: nanoseconds, any number of link types in one file.

Format: draft-ietf-opsawg-pcapng. One section, an interface for each link type, enhanced packet blocks.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from sensors.packets.frames import FrameBatch
from sensors.packets.pcapwriter import PcapWriter

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_BYTE_ORDER = 0x1A2B3C4D
#: Options: the end of them, the program that wrote the section, resolution of the times of an interface as a power of ten.
_END, _PROGRAM, _RESOLUTION = 0, 4, 9
_NANOSECONDS = 9


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


class PcapngWriter(PcapWriter):
    """A pcapng file being written; used as :class:`sensors.packets.pcapwriter.PcapWriter`, for frames of whatever link types.

    Parameters
    ----------
    path
        Where; ``Path("-")`` is standard output.

    Raises
    ------
    CaptureError
        The file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self._interfaces: dict[int, int] = {}  # link type -> number
        super().__init__(path)

    def _header(self) -> bytes:
        options = _option(_PROGRAM, b"flowlake") + _option(_END, b"")
        return _block(_SECTION, struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1) + options)

    def _records(self, frames: FrameBatch) -> bytes:
        out = bytearray()
        for link_type in np.unique(frames.link_type).tolist():
            if link_type not in self._interfaces:
                self._interfaces[link_type] = len(self._interfaces)
                options = _option(_RESOLUTION, bytes([_NANOSECONDS])) + _option(_END, b"")
                out += _block(_INTERFACE, struct.pack("<HHI", link_type, 0, 0) + options)  # 0: no snap length is stated
        for i in range(len(frames)):
            frame, ts = frames.frame(i), int(frames.ts[i])
            # A frame is never longer than it was on the wire, whatever a capture says: readers refuse such a block.
            head = struct.pack(
                "<IIIII",
                self._interfaces[int(frames.link_type[i])],
                ts >> 32,
                ts & 0xFFFFFFFF,
                len(frame),
                max(len(frame), int(frames.wire_len[i])),
            )
            out += _block(_PACKET, head + _padded(frame))
        return bytes(out)
