"""Wire format of ``flows.raw``: what the sensor of flow exporters sends, and the decoder reads.

One message is many datagrams (NetFlow, IPFIX, sFlow) as they came, undecoded, so that they can be decoded again. The partition is that of
the stream's key, exporter and domain: what one stream sent stays in order, and beside its templates.

A message is a head of 20 bytes (magic, version, nothing, number of datagrams, bytes of the body, CRC-32 of what follows), and its body,
compressed as one lz4 block. The body holds, little-endian and one column behind the other: times of receipt (int64, us since the epoch),
addresses of the senders (16 bytes; IPv4 is mapped), weights, stream hashes and lengths (uint32 each), ports of sender and listener (uint16
each); then the datagrams, end to end.

A message of another content type, :data:`CONTENT_EXPORTERS`, holds no datagrams: the stream goes on where a collector left off decoding.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import lz4.block
import numpy as np
from numpy.typing import NDArray

from schemas.topics import COMPRESSED_INSIDE, DAY_MS, TopicSpec

FLOWS_RAW = TopicSpec("flows.raw", 12, DAY_MS, "datagrams of flow exporters, undecoded, many (lz4 inside) a message", COMPRESSED_INSIDE)
RAW_FLOWS_VERSION = 1
CONTENT_RAW_FLOWS = f"application/vnd.flowlake.raw-flows; v={RAW_FLOWS_VERSION}"
#: What the collector knows of exporters that it decoded itself up to here (:mod:`jobs.flowexport.state`), in front of their datagrams.
CONTENT_EXPORTERS = "application/vnd.flowlake.exporters; v=1"

#: What a reader takes memory for, at most: datagrams and bytes of the body of one message.
MOST_DATAGRAMS, MOST_BYTES = 65_536, 16 << 20
#: Bytes of a datagram beside its payload.
ROW_BYTES = 8 + 16 + 3 * 4 + 2 * 2
_MAGIC = b"FLRF"
_HEAD = struct.Struct("<4sHHIII")
_SENDER = np.dtype("V16")


class RawFlowsError(ValueError):
    """Bytes that are no message of ``flows.raw``; says what was found."""


class RawDatagram(NamedTuple):
    """One datagram.

    Attributes
    ----------
    payload
        As it came.
    sender
        Its address, 16 bytes (IPv4: mapped).
    port, listening
        UDP ports of the sender, and of the listener.
    received_us
        Time of receipt, us since the epoch, UTC.
    kept_of
        Of so many datagrams of the stream this one was kept; 1 without pressure.
    stream
        Hash of the stream's key, which chooses the partition.
    """

    payload: bytes
    sender: bytes
    port: int
    listening: int
    received_us: int
    kept_of: int
    stream: int


@dataclass(frozen=True, slots=True)
class RawMessage:
    """The datagrams of a message as columns, named as in :class:`RawDatagram`; datagram ``i`` is ``data[offsets[i]:offsets[i + 1]]``."""

    data: bytes
    offsets: list[int]
    senders: list[bytes]
    ports: list[int]
    listening: list[int]
    received_us: list[int]
    kept_of: list[int]
    streams: list[int]

    def __len__(self) -> int:
        return len(self.senders)


def encode(datagrams: Sequence[RawDatagram]) -> bytes:
    """A message of these datagrams.

    Raises
    ------
    RawFlowsError
        They are more than a reader would take.
    """
    payloads, senders, ports, listening, received, kept, streams = zip(*datagrams, strict=True) if datagrams else ((),) * 7
    lengths = np.fromiter(map(len, payloads), "<u4", len(payloads))
    body = b"".join(
        [
            np.array(received, "<i8").tobytes(),
            *senders,
            np.array(kept, "<u4").tobytes(),
            np.array(streams, "<u4").tobytes(),
            lengths.tobytes(),
            np.array(ports, "<u2").tobytes(),
            np.array(listening, "<u2").tobytes(),
            *payloads,
        ]
    )
    _check_size(len(datagrams), len(body))
    packed = lz4.block.compress(body, store_size=False) if body else b""
    return _HEAD.pack(_MAGIC, RAW_FLOWS_VERSION, 0, len(datagrams), len(body), zlib.crc32(packed)) + packed


def decode(message: bytes) -> RawMessage:
    """The datagrams of a message.

    Raises
    ------
    RawFlowsError
        It is none, or damaged, or larger than may be.
    """
    n, body = _body(message)
    columns = np.frombuffer(body, np.uint8)
    at = 0

    def column(kind: str) -> NDArray[Any]:
        nonlocal at
        end = at + n * np.dtype(kind).itemsize
        found = columns[at:end].view(kind)
        at = end
        return found

    received, senders = column("<i8"), column(_SENDER.str)
    kept, streams, lengths, ports, listening = (column(kind) for kind in ("<u4", "<u4", "<u4", "<u2", "<u2"))
    offsets = np.zeros(n + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    if at + offsets[-1] != len(body):
        raise RawFlowsError(f"the lengths of {n} datagrams sum to {offsets[-1]:,} bytes, and there are {len(body) - at:,}")
    if n and not kept.all():
        raise RawFlowsError(f"datagram {int(np.argmin(kept))} was kept of 0 datagrams")
    return RawMessage(
        body[at:],
        offsets.tolist(),
        [sender.tobytes() for sender in senders],
        ports.tolist(),
        listening.tolist(),
        received.tolist(),
        kept.tolist(),
        streams.tolist(),
    )


def _body(message: bytes) -> tuple[int, bytes]:
    """Number of datagrams, and the body."""
    if len(message) < _HEAD.size:
        raise RawFlowsError(f"{len(message)} bytes, of which the head alone has {_HEAD.size}")
    magic, version, _, n, size, checksum = _HEAD.unpack_from(message)
    if magic != _MAGIC:
        raise RawFlowsError(f"begins with {magic.hex()}, not with {_MAGIC.hex()}")
    if version != RAW_FLOWS_VERSION:
        raise RawFlowsError(f"is of version {version}; this reader knows {RAW_FLOWS_VERSION}")
    _check_size(n, size)
    packed = message[_HEAD.size :]
    if zlib.crc32(packed) != checksum:
        raise RawFlowsError(f"has checksum {zlib.crc32(packed):08x}, and says {checksum:08x}")
    try:
        body = lz4.block.decompress(packed, uncompressed_size=size) if size else b""
    except (lz4.block.LZ4BlockError, ValueError) as e:
        raise RawFlowsError(f"cannot be decompressed to {size:,} bytes: {e}") from e
    if len(body) != size:
        raise RawFlowsError(f"holds {len(body):,} bytes, and says {size:,}")
    return n, body


def _check_size(n: int, size: int) -> None:
    if n > MOST_DATAGRAMS:
        raise RawFlowsError(f"{n:,} datagrams, and {MOST_DATAGRAMS:,} are allowed")
    if not n * ROW_BYTES <= size <= MOST_BYTES:
        raise RawFlowsError(f"{n:,} datagrams in {size:,} bytes: {n * ROW_BYTES:,} to {MOST_BYTES:,} are allowed")
