"""Phase one, stateless: Kafka messages of ``raw-packets`` -> one binary digest per hash bucket.

A digest (:class:`jobs.metering.layout.Digest`) is what one task hands to one bucket: the packets of the bucket as
:data:`sensors.packets.decode.PACKET_DTYPE`, and the *envelopes* of all messages that the task read, so that every
bucket learns every clock, whether it got packets or not.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from infra.errors import one_line
from infra.names import valid_text
from jobs.metering.envelope import KIND_JSON, Envelope
from jobs.metering.gather import take
from jobs.metering.layout import Digest
from schemas.wire import CLOCK_END, CONTENT_JSON, CONTENT_PACKETS, KIND_END, KIND_PACKETS, KINDS, PACKET_SCHEMA, Header
from sensors.packets.decode import BAD_TIMESTAMP, LATE, MAX_TS_NS, PACKET_DTYPE, REJECT_REASONS, UNKNOWN_LINK, decode
from sensors.packets.encoding import from_arrow
from sensors.packets.frames import FrameBatch

JSON_DOMAIN = "json"

_CONTENT_TYPE = CONTENT_PACKETS.split(";")[0]
_MAX_NAME = 256

#: Handing columns of a small batch to other threads takes longer than to decompress them.
_READ = pa.ipc.IpcReadOptions(use_threads=False)


@dataclass(frozen=True)
class KafkaMessage:
    """One Kafka record."""

    value: bytes | None
    headers: dict[str, bytes]
    partition: int
    offset: int
    timestamp_ms: int


class Refused(ValueError):
    """A message that cannot be decoded; ``str`` is the reason for the dead letter, ``code: detail``."""


@dataclass(frozen=True, slots=True)
class JsonPacket:
    """A packet that came as JSON: capture time (ns), sensor, frame, link type, bytes on the wire."""

    ts: int
    sensor: str
    frame: bytes
    link_type: int
    wire_len: int


class Digester:
    """Collects messages and splits their packets over ``buckets`` by flow hash.

    ``json_lateness_ns``: how far a JSON packet may lie behind the latest one before it on its partition.
    """

    def __init__(self, buckets: int, json_lateness_ns: int) -> None:
        self._buckets = buckets
        self._lateness = json_lateness_ns
        self._envelopes: list[Envelope] = []
        self._packets: list[NDArray] = []
        self._json: dict[tuple[int, str], list[tuple[JsonPacket, int, int]]] = defaultdict(list)  # offset, broker's time (ms)
        self.refused: list[tuple[KafkaMessage, str]] = []

    def add(self, message: KafkaMessage) -> None:
        """Take one message; one that cannot be decoded is put into :attr:`refused` with the reason."""
        try:
            self._add(message)
        except Refused as e:
            self.refused.append((message, str(e)))

    def _add(self, message: KafkaMessage) -> None:
        value, content = content_of(message)
        if content == CONTENT_JSON:
            packet = json_packet(value)
            self._json[(message.partition, packet.sensor)].append((packet, message.offset, message.timestamp_ms))
        else:
            self._arrow(message, value)

    def _arrow(self, message: KafkaMessage, value: bytes) -> None:
        envelope = envelope_of(message)
        batch = read_packets(value)
        envelope.packets = batch.num_rows
        if batch.num_rows:
            # The sensor's flow hash chose the partition. It does not choose the bucket: another sensor may read a frame otherwise.
            self._take(envelope, from_arrow(batch))
        self._envelopes.append(envelope)

    def _take(self, envelope: Envelope, frames: FrameBatch) -> None:
        packets, reasons = decode(frames.data, frames.offsets, frames.ts, frames.wire_len, frames.link_type)
        packets["msg"] = len(self._envelopes)
        if envelope.kind == KIND_JSON:
            reasons[self._late(frames.ts, reasons)] = LATE
        self._packets.append(accepted(envelope, frames, packets, reasons))

    def _late(self, ts: NDArray[np.int64], reasons: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """JSON packets that are late by those before them in the message; the bucket knows those of earlier messages."""
        latest = np.maximum.accumulate(np.where(reasons == BAD_TIMESTAMP, 0, ts))
        late = np.zeros(len(ts), bool)
        late[1:] = ts[1:] < latest[:-1] - self._lateness
        return late & (reasons == 0)

    def _flush_json(self) -> None:
        for (partition, sensor), rows in self._json.items():
            envelope = Envelope(sensor, sensor, 0, partition, 0, rows[0][1], KIND_JSON, 0, max(r[2] for r in rows), packets=len(rows))
            self._take(envelope, json_frames([packet for packet, _, _ in rows]))
            self._envelopes.append(envelope)
        self._json.clear()

    def finish(self) -> Iterator[tuple[int, bytes]]:
        """``(bucket, encoded Digest)`` for every bucket; nothing when no message could be read."""
        self._flush_json()
        if not self._envelopes:
            return
        packets = np.concatenate(self._packets) if self._packets else np.zeros(0, PACKET_DTYPE)
        bucket = packets["flow_hash"] % np.uint32(self._buckets)
        order = np.argsort(bucket.astype(np.uint16), kind="stable")
        bounds = np.searchsorted(bucket[order], np.arange(self._buckets + 1))
        chosen = (take(packets, order[bounds[b] : bounds[b + 1]]) for b in range(self._buckets))
        yield from enumerate(Digest.encode_each(self._envelopes, chosen))


def accepted(envelope: Envelope, frames: FrameBatch, packets: NDArray, reasons: NDArray[np.uint8]) -> NDArray:
    """Those of ``packets`` (``PACKET_DTYPE[n]``, of ``frames``) that are not rejected; rejects and latest time go into the envelope."""
    envelope.rejected = count_rejects(reasons, frames.link_type)
    good, timed = reasons == 0, reasons != BAD_TIMESTAMP
    if timed.any():  # a packet that is not metered has a time all the same
        envelope.max_ts = int(frames.ts[timed].max())
    return packets if good.all() else take(packets, good)


def count_rejects(reasons: NDArray[np.uint8], link_type: NDArray) -> dict[str, int]:
    """Rejected packets by reason; unknown link types by their number (``unknown_link_type_147``)."""
    counts = np.bincount(reasons, minlength=len(REJECT_REASONS))
    named = {REJECT_REASONS[i]: int(c) for i, c in enumerate(counts) if c and i not in (0, UNKNOWN_LINK)}
    if counts[UNKNOWN_LINK]:
        for link, c in Counter(np.asarray(link_type)[reasons == UNKNOWN_LINK].tolist()).items():
            named[f"unknown_link_type_{link}"] = c
    return named


def content_of(message: KafkaMessage) -> tuple[bytes, str]:
    """Value of a message, and what it is: ``CONTENT_PACKETS`` or ``CONTENT_JSON``.

    Raises
    ------
    Refused
        It is neither, or empty.
    """
    value = message.value
    if not value:
        raise Refused("empty: message without a value")
    declared = message.headers.get(Header.CONTENT_TYPE)
    content = declared.decode("utf-8", "replace").strip() if declared is not None else ""
    base = content.split(";")[0].strip().lower()
    if base == CONTENT_JSON or (not content and value[:64].lstrip()[:1] == b"{"):
        return value, CONTENT_JSON
    if base != _CONTENT_TYPE:
        raise Refused(f"content-type: {content!r} is neither {CONTENT_PACKETS!r} nor {CONTENT_JSON!r}")
    if content.replace(" ", "") != CONTENT_PACKETS.replace(" ", ""):
        raise Refused(f"wrong-version: {content!r}, this meter reads {CONTENT_PACKETS!r}")
    return value, CONTENT_PACKETS


def json_packet(value: bytes) -> JsonPacket:
    """A packet that came as JSON.

    Raises
    ------
    Refused
        The value is no JSON object, or one of its fields is missing or out of range.
    """
    try:
        record = json.loads(value, parse_float=Decimal)
    except (ValueError, RecursionError) as e:
        raise Refused(f"json: {e}") from e
    if not isinstance(record, dict):
        raise Refused(f"json: expected an object, found {type(record).__name__}")
    ts = json_time(record.get("timestamp"))
    frame = json_frame(record.get("raw_bytes"))
    link = _json_int(record, "link_type", 1, 0xFFFF)
    wire = _json_int(record, "wire_len", len(frame), 0xFFFFFFFF)
    sensor = record.get("sensor_id")
    if sensor is not None and (not isinstance(sensor, str) or not 0 < len(sensor) <= _MAX_NAME):
        raise Refused(f"json: sensor_id {str(sensor)[:80]!r} is no text of 1 to {_MAX_NAME} characters")
    # JSON can name half of a surrogate pair, which nothing else can
    return JsonPacket(ts, valid_text(sensor or JSON_DOMAIN), frame, link, wire)


def json_frames(packets: Sequence[JsonPacket]) -> FrameBatch:
    """Packets that came as JSON, as a batch in the same order."""
    offsets = np.zeros(len(packets) + 1, np.int64)
    np.cumsum([len(packet.frame) for packet in packets], out=offsets[1:])
    return FrameBatch(
        np.array([packet.ts for packet in packets], np.int64),
        np.array([packet.wire_len for packet in packets], np.uint32),
        np.array([packet.link_type for packet in packets], np.uint16),
        np.frombuffer(b"".join(packet.frame for packet in packets) or b"\0", np.uint8),
        offsets,
    )


def envelope_of(message: KafkaMessage) -> Envelope:
    """Headers of an Arrow message.

    Raises
    ------
    Refused
        A header is missing or is no number of its range.
    """

    def text(name: str, default: str | None = None) -> str:
        raw = message.headers.get(name)
        if raw is None:
            if default is None:
                raise Refused(f"header: {name!r} is missing")
            return default
        value = raw.decode("utf-8", "replace")
        if not value or len(value) > _MAX_NAME:
            raise Refused(f"header: {name!r} is empty or longer than {_MAX_NAME} characters")
        return value

    def number(name: str, default: int | None = None, top: int = CLOCK_END) -> int:
        value = text(name, None if default is None else str(default))
        if not value.isdecimal() or int(value) > top:
            raise Refused(f"header: {name!r} is {value[:80]!r}, expected a number of 0 to {top}")
        return int(value)

    kind = text(Header.KIND, KIND_PACKETS)
    if kind not in KINDS:
        raise Refused(f"header: {Header.KIND!r} is {kind[:80]!r}, expected one of {', '.join(KINDS)}")
    sensor = text(Header.SENSOR)
    partitions = number(Header.PARTITIONS, top=100_000)
    if not message.partition < partitions:
        raise Refused(f"header: {Header.PARTITIONS!r} is {partitions}, but the message came on partition {message.partition}")
    return Envelope(
        sensor=sensor,
        domain=text(Header.DOMAIN, sensor),
        run=number(Header.RUN),
        partition=message.partition,
        partitions=partitions,
        seq=number(Header.SEQ),
        kind=kind,
        clock=CLOCK_END if kind == KIND_END else number(Header.CLOCK),
        seen_ms=message.timestamp_ms,
        received=number(Header.RECEIVED, 0),
        dropped=number(Header.DROPPED, 0),
        kernel_dropped=number(Header.KERNEL_DROPPED, 0),
    )


def read_packets(value: bytes) -> pa.RecordBatch:
    """The record batch of an Arrow message, checked: schema, no nulls, offsets inside the buffers.

    Raises
    ------
    Refused
        The value is no Arrow stream, is cut off, or has another schema.
    """
    try:
        with pa.ipc.open_stream(pa.py_buffer(value), options=_READ) as reader:
            if not reader.schema.equals(PACKET_SCHEMA):
                raise Refused(f"schema: columns {', '.join(f'{f.name}:{f.type}' for f in reader.schema)[:300]}")
            batch = reader.read_next_batch()
            try:
                reader.read_next_batch()
                raise Refused("schema: more than one record batch in a message")
            except StopIteration:
                pass
        batch.validate(full=True)
    except StopIteration as e:
        raise Refused("arrow: stream without a record batch") from e
    except (pa.ArrowException, OSError, ValueError) as e:
        if isinstance(e, Refused):
            raise
        raise Refused(f"arrow: {one_line(e, 200)}") from e
    if any(c.null_count for c in batch.columns):
        raise Refused("schema: null values")
    return batch


def json_time(value: Any) -> int:
    """Capture time of a JSON packet in ns: ISO 8601 (UTC when it names no zone) or epoch seconds (also ms, us, ns, by magnitude).

    Raises
    ------
    Refused
        Missing, not readable, or outside 1970 to 2116.
    """
    if isinstance(value, str) and value.strip():
        text = value.strip()
        try:
            number: Decimal | None = Decimal(text)
        except InvalidOperation:
            number = None
        if number is None:
            try:
                moment = datetime.fromisoformat(text)
            except ValueError as e:
                raise Refused(f"json: timestamp {text[:80]!r} is neither ISO 8601 nor epoch seconds") from e
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            since = moment - datetime(1970, 1, 1, tzinfo=UTC)
            ns = (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000
            return _in_range(ns, text)
        value = number
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise Refused(f"json: timestamp {str(value)[:80]!r} is neither ISO 8601 nor epoch seconds")
    number = Decimal(value)
    if not number.is_finite():
        raise Refused(f"json: timestamp {str(value)[:80]!r} is not finite")
    magnitude = abs(number)
    if magnitude > Decimal(10) ** 30:
        raise Refused(f"json: timestamp {str(value)[:80]!r} is outside 1970 to 2116")
    scale = 1_000_000_000 if magnitude < 10**11 else 1_000_000 if magnitude < 10**14 else 1000 if magnitude < 10**17 else 1
    return _in_range(int(number * scale), str(value))


def _in_range(ns: int, text: str) -> int:
    if not 0 <= ns <= MAX_TS_NS:
        raise Refused(f"json: timestamp {text[:80]!r} is outside 1970 to 2116")
    return ns


def json_frame(value: Any) -> bytes:
    """Frame bytes of a JSON packet: hex digits, an ``0x`` in front and colons or blanks between bytes allowed."""
    if not isinstance(value, str):
        raise Refused("json: raw_bytes is missing or no text")
    digits = value.strip().removeprefix("0x").replace(":", "")
    try:
        frame = bytes.fromhex(digits)
    except ValueError as e:
        raise Refused(f"json: raw_bytes {value[:40]!r} is not hex") from e
    if not frame:
        raise Refused("json: raw_bytes is empty")
    return frame


def _json_int(record: dict[str, Any], name: str, default: int, top: int) -> int:
    value = record.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= top:
        raise Refused(f"json: {name} {str(value)[:80]!r} is no number of 0 to {top}")
    return value
