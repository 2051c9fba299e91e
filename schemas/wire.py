"""Wire format of ``raw-packets``: what a sensor sends and the meter reads.

One message is one Arrow IPC stream with one record batch of frames, plus Kafka headers. A message of any kind carries the
sensor's **clock**, its watermark: every packet of this sensor and partition with a capture time *strictly below* it has
been sent, in this message or an earlier one. The meter's event time is the minimum of these watermarks, never a guess.

Plain JSON is accepted too (``application/json``): one packet a message, ``timestamp`` (ISO 8601 or epoch seconds) and
``raw_bytes`` (hex); ``sensor_id``, ``link_type`` (default 1, Ethernet) and ``wire_len`` are honoured when present, other fields ignored.
"""

from __future__ import annotations

import pyarrow as pa

WIRE_VERSION = 1
CONTENT_PACKETS = f"application/vnd.flowlake.packets+arrow; v={WIRE_VERSION}"
CONTENT_FLOWS = f"application/vnd.flowlake.flows+arrow; v={WIRE_VERSION}"
CONTENT_JSON = "application/json"

#: Frames are cut to this many bytes by default: enough for every header the meter reads, tunnels included.
DEFAULT_SNAPLEN = 192

#: End-of-stream clock: no packet will follow.
CLOCK_END = (1 << 63) - 1

PACKET_SCHEMA = pa.schema(
    [
        pa.field("ts", pa.int64(), nullable=False),  # capture time, ns since the epoch, UTC
        pa.field("wire_len", pa.uint32(), nullable=False),  # bytes on the wire; fewer than were captured: these count
        pa.field("link_type", pa.uint16(), nullable=False),  # LINKTYPE_* of tcpdump.org
        pa.field("flow_hash", pa.uint32(), nullable=False),  # symmetric hash of the innermost address pair: chose the partition
        pa.field("frame", pa.binary(), nullable=False),  # frame bytes, cut at the snap length
    ]
)


class Header:
    """Kafka header names of ``raw-packets``. Values are UTF-8 text; numbers in decimal."""

    CONTENT_TYPE = "content-type"  # CONTENT_PACKETS, or CONTENT_JSON; nothing else is read
    SENSOR = "sensor"  # sensor id
    DOMAIN = "domain"  # observation domain; the sensor id unless configured
    RUN = "run"  # start of this sensor process, ns since the epoch: distinguishes restarts
    KIND = "kind"  # one of KINDS
    CLOCK = "clock"  # the watermark above, ns since the epoch
    PARTITIONS = "partitions"  # how many partitions this sensor spreads its flows over (0..n-1)
    SEQ = "seq"  # number of this message in (sensor, run, partition), from 0: duplicates are recognised by it
    SNAPLEN = "snaplen"  # frames are cut at so many bytes
    RECEIVED = "received"  # packets taken by this sensor run so far, all partitions
    DROPPED = "dropped"  # packets given up in the sensor (buffer full), so far
    KERNEL_DROPPED = "kernel-dropped"  # packets the kernel dropped before the sensor saw them, so far


KIND_PACKETS = "packets"
KIND_HEARTBEAT = "heartbeat"
KIND_END = "end"
KINDS = (KIND_PACKETS, KIND_HEARTBEAT, KIND_END)

#: Handing the columns of a batch to other threads takes longer than to compress them.
_WRITE = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)


def arrow_stream(rows: pa.RecordBatch | pa.Table) -> bytes:
    """An Arrow IPC stream of ``rows``, its buffers compressed with lz4."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=_WRITE) as writer:
        writer.write(rows)
    return bytes(sink.getvalue())
