"""Frames of flows, taken out of the topic ``raw-packets`` again while it still holds them.

Where to read: the broker stamps a message when it is appended, which is after its packets were captured: seconds after in live capture,
years after in the replay of an old file. So a frame lies behind the first message that was appended at its capture time, and before
what was appended when its flow was known already. Clocks of sensors, broker and database may differ by :data:`CLOCK_SKEW_MS`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from infra.config import Settings
from infra.errors import BrokerError, one_line
from infra.kafka.topics import HINT
from infra.times import micros
from jobs.metering.digest import JsonPacket, KafkaMessage, Refused, content_of, envelope_of, json_frames, json_packet, read_packets
from jobs.metering.settings import MeterSettings
from jobs.sources.packets.membership import FlowSpan, Membership
from schemas.packets import RAW_PACKETS
from schemas.wire import CONTENT_JSON
from sensors.packets.encoding import from_arrow
from sensors.packets.frames import FrameBatch, concat

if TYPE_CHECKING:
    from kafka import KafkaConsumer, TopicPartition

#: How far the clocks of sensors, broker and database may lie apart.
CLOCK_SKEW_MS = 300_000
#: Frames that are handed on at once, and the bytes of them.
_FRAMES, _BYTES = 8192, 4 << 20
#: The broker sends nothing for so long, though there is something: seconds.
_SILENCE_S = 30.0
#: How long a broker may take to answer at all: ms.
_BOOTSTRAP_MS = 5000
#: Between two lines of progress: seconds.
_TOLD_S = 2.0
#: Domain, sensor, run of the sensor; the frames.
_Piece = tuple[str, str, int, FrameBatch]


@dataclass
class Recalled:
    """What was found.

    Attributes
    ----------
    per_flow : int64[n]
        Frames by flow.
    frames, cut : int
        Frames found, and those of them that were cut at the sensor's snap length.
    repeated : int
        Frames left out because another run of the same sensor sent them, too: a capture that was replayed twice.
    messages, unreadable : int
        Messages read, and those of them that are none of the wire format.
    begins_ms : int, optional
        When the oldest message that is left was appended (ms since the epoch), where older ones have been deleted.
    limited : bool
        There may be more frames than the limit.
    link_types : set of int
        LINKTYPE_* of the frames.
    """

    per_flow: NDArray[np.int64]
    frames: int = 0
    cut: int = 0
    repeated: int = 0
    messages: int = 0
    unreadable: int = 0
    begins_ms: int | None = None
    limited: bool = False
    link_types: set[int] = field(default_factory=set)


class Recall:
    """One reading of the topic.

    Parameters
    ----------
    settings
        Where the broker is.
    flows
        Whose frames are wanted.
    until_ms
        When the flows were known (ms since the epoch): their frames had been sent before. None: the topic is read to its end.
    limit
        Frames at most; reading ends then.
    say
        Gets lines of progress.

    Attributes
    ----------
    found : Recalled
        Complete when :meth:`frames` has ended.
    """

    def __init__(self, settings: Settings, flows: Sequence[FlowSpan], until_ms: int | None, limit: int, say: Callable[[str], None]) -> None:
        self._settings, self._limit, self._say = settings, limit, say
        self._members = Membership(flows, settings.section(MeterSettings).fragment_timeout_s)
        self._since_ms = max(0, min((flow.start for flow in flows), default=0) // 1000 - CLOCK_SKEW_MS)
        self._until_ms = None if until_ms is None else until_ms + CLOCK_SKEW_MS
        self._topic = settings.topic(RAW_PACKETS.name)
        self._newest: dict[tuple[str, int, int], int] = {}  # sensor, run, partition -> number of its newest message
        self._run_of: dict[int, int] = {}  # hash of a frame -> the run that sent it
        self.found = Recalled(np.zeros(len(flows), np.int64))

    def frames(self) -> Iterator[FrameBatch]:
        """Frames of the flows, in no order, some thousands at a time.

        Raises
        ------
        BrokerError
            No broker answers, the topic is not there, or it says nothing any more.
        """
        held: list[FrameBatch] = []
        for piece in self._pieces():
            held.append(piece)
            if sum(map(len, held)) >= _FRAMES or sum(batch.nbytes for batch in held) >= _BYTES:
                yield concat(held)
                held = []
            if self.found.limited:
                break
        if held:
            yield concat(held)

    def _pieces(self) -> Iterator[FrameBatch]:
        for records in self._polled():
            packets: dict[str, list[JsonPacket]] = {}
            for record in records:
                self.found.messages += 1
                try:
                    piece = self._opened(record, packets)
                except Refused:
                    self.found.unreadable += 1
                    continue
                if piece is not None:
                    yield from self._ours(*piece)
            for sensor, some in packets.items():
                yield from self._ours(sensor, sensor, 0, json_frames(some))

    def _opened(self, record: Any, packets: dict[str, list[JsonPacket]]) -> _Piece | None:
        """Frames of a message, None where there are none of our domains; JSON packets are gathered in ``packets`` by sensor."""
        headers = {key: value for key, value in record.headers if value is not None}
        message = KafkaMessage(record.value, headers, record.partition, record.offset, record.timestamp)
        value, content = content_of(message)
        if content == CONTENT_JSON:
            packet = json_packet(value)
            packets.setdefault(packet.sensor, []).append(packet)
            return None
        envelope = envelope_of(message)
        place = (envelope.sensor, envelope.run, record.partition)
        if envelope.seq <= self._newest.get(place, -1):  # sent a second time
            return None
        self._newest[place] = envelope.seq
        if envelope.domain not in self._members.domains:
            return None
        return envelope.domain, envelope.sensor, envelope.run, from_arrow(read_packets(value))

    def _ours(self, domain: str, sensor: str, run: int, frames: FrameBatch) -> Iterator[FrameBatch]:
        """Those that belong to a flow, each once, no more than are still wanted."""
        chosen, flows = self._members.of(domain, frames)
        if not len(chosen):
            return
        fresh = np.array([self._first_time(sensor, run, chosen, i) for i in range(len(chosen))])
        self.found.repeated += int((~fresh).sum())
        keep = np.flatnonzero(fresh)
        left = self._limit - self.found.frames
        if len(keep) > left:
            self.found.limited, keep = True, keep[:left]
        chosen, flows = chosen.take(keep), flows[keep]
        np.add.at(self.found.per_flow, flows, 1)
        self.found.frames += len(chosen)
        self.found.cut += int((np.diff(chosen.offsets) < chosen.wire_len).sum())
        self.found.link_types |= set(np.unique(chosen.link_type).tolist())
        yield chosen

    def _first_time(self, sensor: str, run: int, frames: FrameBatch, i: int) -> bool:
        key = hash((sensor, int(frames.ts[i]), int(frames.wire_len[i]), frames.frame(i)))
        return self._run_of.setdefault(key, run) == run

    def _polled(self) -> Iterator[list[Any]]:
        """Messages between the two times, as they come."""
        from kafka import errors

        try:
            with closing(self._consumer()) as consumer:
                yield from self._read(consumer)
        except (errors.KafkaError, OSError, ValueError) as e:
            raise BrokerError(f"the Kafka broker at {self._settings.kafka.bootstrap_servers}: {one_line(e)}", HINT) from e

    def _consumer(self) -> KafkaConsumer:
        from kafka import KafkaConsumer

        from infra.kafka.client import client_options

        return KafkaConsumer(
            **client_options(self._settings.kafka),
            client_id="flowlake-recall",
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # what is deleted while it is read is gone
            bootstrap_timeout_ms=_BOOTSTRAP_MS,
        )

    def _read(self, consumer: KafkaConsumer) -> Iterator[list[Any]]:
        ends = self._range(consumer)
        began = heard = told = time.monotonic()
        total = sum(end - consumer.position(part) for part, end in ends.items())
        while unread := {part: end for part, end in ends.items() if consumer.position(part) < end}:
            polled = consumer.poll(timeout_ms=500)
            records = [record for part, some in polled.items() for record in some if record.offset < ends[part]]
            now = time.monotonic()
            if polled:
                heard = now
            elif now - heard > _SILENCE_S:
                part = next(iter(unread))
                raise BrokerError(f"topic {self._topic}: partition {part.partition} sends nothing for {_SILENCE_S:.0f} s", HINT)
            yield records
            if now - told > _TOLD_S:
                told = now
                self._say(
                    f"{self._topic}: {self.found.messages:,} of {total:,} messages, {self.found.frames:,} frames, {now - began:.0f} s"
                )

    def _range(self, consumer: KafkaConsumer) -> dict[TopicPartition, int]:
        """Have the consumer begin where the first frame may be; the offsets before which to end."""
        from kafka import TopicPartition

        parts = [TopicPartition(self._topic, number) for number in sorted(consumer.partitions_for_topic(self._topic) or ())]
        if not parts:
            raise BrokerError(
                f"topic {self._topic} is not on the broker at {self._settings.kafka.bootstrap_servers}",
                "flowlake topics shows what is there",
            )
        ends, begins = consumer.end_offsets(parts), consumer.beginning_offsets(parts)
        self._note_beginning(consumer, begins, ends)
        consumer.assign(parts)
        for part, found in consumer.offsets_for_times(dict.fromkeys(parts, self._since_ms)).items():
            consumer.seek(part, ends[part] if found is None else found.offset)
        if self._until_ms is not None:
            for part, found in consumer.offsets_for_times(dict.fromkeys(parts, self._until_ms)).items():
                ends[part] = ends[part] if found is None else min(ends[part], found.offset)
        return dict(ends)

    def _note_beginning(self, consumer: KafkaConsumer, begins: dict[TopicPartition, int], ends: dict[TopicPartition, int]) -> None:
        """Since when every partition holds what was sent to it; partitions that never lost a message say nothing."""
        shortened = [part for part, first in begins.items() if first > 0]
        now = int(time.time() * 1000)
        oldest = consumer.offsets_for_times(dict.fromkeys(shortened, 0)) if shortened else {}
        times = [now if found is None or begins[part] == ends[part] else found.timestamp for part, found in oldest.items()]
        self.found.begins_ms = max(times, default=None)


def spans_of(rows: Sequence[dict[str, Any]], domains: frozenset[str]) -> list[FlowSpan]:
    """Flows of a store as spans.

    Parameters
    ----------
    rows
        Columns start_time, flow_duration (us), src_ip, src_port, dst_ip, dst_port, protocol, packets; and domain, where the store has it.
    domains
        Observation domains of those that name none.
    """
    return [
        FlowSpan(
            row["src_ip"],
            row["src_port"],
            row["dst_ip"],
            row["dst_port"],
            row["protocol"],
            start := micros(row["start_time"]),
            start + row["flow_duration"],
            frozenset({row["domain"]}) if row.get("domain") else domains,
            row["packets"],
        )
        for row in rows
    ]


def named_spans(alerts: Sequence[dict[str, Any]]) -> list[FlowSpan]:
    """Flows that alerts describe themselves: the one flow of a per-flow alert, the newest of one that repeats."""
    spans = []
    for alert in alerts:
        details = alert["details"]
        flow = details.get("last_flow", details)
        if alert["src_ip"] and alert["dst_ip"] and isinstance(flow.get("protocol"), int):
            spans.append(
                FlowSpan(
                    alert["src_ip"],
                    flow.get("src_port", 0),
                    alert["dst_ip"],
                    flow.get("dst_port", 0),
                    flow["protocol"],
                    micros(alert["first_seen"]),
                    micros(alert["last_seen"]),
                    frozenset({alert["domain"]}),
                )
            )
    return spans


def missing(flows: Sequence[FlowSpan], found: Recalled) -> Counter[str]:
    """What the meter counted and the topic no longer holds: ``packets``, ``flows`` without any frame, ``short`` ones that lack some."""
    lack: Counter[str] = Counter()
    for flow, frames in zip(flows, found.per_flow.tolist(), strict=True):
        if flow.packets > frames or not frames:
            lack["packets"] += max(0, flow.packets - frames)
            lack["short" if frames else "flows"] += 1
    return lack
