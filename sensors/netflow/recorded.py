"""Datagrams of exporters in capture files: UDP to the ports that they send to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.rawflows import RawDatagram
from sensors.netflow.streams import raw_datagram
from sensors.packets.capture import CaptureReader
from sensors.packets.following import Follow
from sensors.packets.formats import MAX_RECORD
from sensors.packets.frames import FrameBatch
from sensors.packets.protocols import IPPROTO_UDP

_HEADER = 8
#: No UDP header lies further in front in a frame: an IPv4 header alone is so long.
_FIRST = 20
_MAPPED = bytes(10) + b"\xff\xff"


class RecordedDatagrams:
    """The datagrams of a capture file, in the file's order; each pass reads it anew.

    Nothing is put together: a datagram in several fragments is counted, and left out.

    Parameters
    ----------
    path
        Whatever :class:`sensors.packets.capture.CaptureReader` reads.
    ports
        UDP ports that exporters send to.
    pipe
        How a pipe is waited for.

    Attributes
    ----------
    counts
        Of packets, over all passes: ``packets`` in the file; ``datagrams`` among them; ``fragments`` and ``cut`` (by a snap length) to
        these ports.
    problem, failed
        What is wrong with the file, in one line (empty when all is well); whether it could not be read on, else it is cut or damaged.

    Raises
    ------
    CaptureError
        By iterating: the file cannot be read, or is no capture file.
    """

    def __init__(self, path: str | Path, ports: Collection[int], pipe: Follow | None = None) -> None:
        self._path, self._pipe = path, pipe
        self._ports = np.array(sorted(ports), np.uint16)
        self.counts: Counter[str] = Counter()
        self.problem, self.failed = "", False

    def __iter__(self) -> Iterator[RawDatagram]:
        reader = CaptureReader(self._path, MAX_RECORD, pipe=self._pipe)
        for frames in reader:
            yield from self._of(frames)
        self.problem, self.failed = reader.problem, reader.failed

    def _of(self, frames: FrameBatch) -> Iterator[RawDatagram]:
        from sensors.packets.decode import decode  # compiled on first use

        packets, reasons = decode(frames.data, frames.offsets, frames.ts, frames.wire_len, frames.link_type)
        self.counts["packets"] += len(frames)
        wanted = (reasons == 0) & (packets["proto"] == IPPROTO_UDP) & np.isin(packets["dport"], self._ports)
        for i in np.flatnonzero(wanted).tolist():
            found = self._datagram(frames.frame(i), packets[i])
            if found is not None:
                yield found

    def _datagram(self, frame: bytes, packet: np.void) -> RawDatagram | None:
        if packet["frag"]:
            self.counts["fragments"] += 1
            return None
        sport, dport, size = int(packet["sport"]), int(packet["dport"]), int(packet["payload"])
        # A digest has the numbers of the UDP header, not its place, which tags, options and tunnels move: it is where they stand.
        header = b"".join(number.to_bytes(2, "big") for number in (sport, dport, size + _HEADER))
        at = frame.find(header, _FIRST) + _HEADER
        if at < _HEADER or at + size > len(frame):
            self.counts["cut"] += 1
            return None
        self.counts["datagrams"] += 1
        return raw_datagram(frame[at : at + size], _source(packet), sport, dport, int(packet["ts"]) // 1000)


def _source(packet: np.void) -> bytes:
    """Address of the sender, 16 bytes."""
    if packet["ipver"] == 4:
        return _MAPPED + int(packet["src_lo"]).to_bytes(4, "big")
    halves: NDArray[np.uint64] = np.array([packet["src_hi"], packet["src_lo"]], ">u8")
    return halves.tobytes()
