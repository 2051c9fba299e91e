"""sFlow v5: a header, and samples of flows, counters and discarded packets.

Defined by "sFlow Version 5" (sFlow.org 2004) and, for drops, "sFlow Dropped Packet Notification Structures" (2020). All numbers are XDR:
32 bits, most significant byte first. What a sample's records hold: :mod:`jobs.flowexport.flowrecords`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jobs.flowexport.chunk import ExportChunk, RecordPart
from jobs.flowexport.columns import FlowMark
from jobs.flowexport.datagrams import NO_ADDRESS, Arrival
from jobs.flowexport.faults import FaultReason, MessageFault, Rejected
from jobs.flowexport.flowrecords import address, read
from jobs.flowexport.rules import DecodeRules
from jobs.flowexport.samples import PacketSample, Said
from jobs.flowexport.sampling import SampleSource
from jobs.flowexport.session import ExportSession, ExportSessions, SourceKey
from jobs.flowexport.sflowkernel import FLOW, FLOW_EXPANDED, plain_samples

#: Version in the datagram, and in the column ``version``, where 5 is NetFlow's.
VERSION, LABEL = 5, 105
#: Behind the agent's address: sub-agent, sequence, uptime, samples.
_REST = struct.Struct(">IIII")
_FORMAT = struct.Struct(">II")
_FLOW, _FLOW_EXPANDED = struct.Struct(">IIIIIIII"), struct.Struct(">IIIIIIIIIII")
_COUNTERS, _COUNTERS_EXPANDED = struct.Struct(">III"), struct.Struct(">IIII")
_DROP = struct.Struct(">IIIIIIII")
_INTERFACE = struct.Struct(">IIQIIQIIIIIIQIIIIII")

#: Formats of samples, all of enterprise 0.
COUNTERS, COUNTERS_EXPANDED, DROP = 2, 4, 5
_IF_COUNTERS = 1
#: Interfaces: two bits of format, then the value.
_SINGLE, _DISCARDED, _SEVERAL = 0, 1, 2
_VALUE_BITS = 30
_VALUE = (1 << _VALUE_BITS) - 1
_SOURCE_BITS = 24
_SOURCE = (1 << _SOURCE_BITS) - 1
_MOST_REASON = 0xFFFF


class SampleReading(NamedTuple):
    """A datagram that is being read: ``part`` is its number in the chunk."""

    chunk: ExportChunk
    session: ExportSession
    arrival: Arrival
    rules: DecodeRules
    part: int
    received_ms: int
    uptime_ms: int


def take(chunk: ExportChunk, sessions: ExportSessions, arrival: Arrival, rules: DecodeRules) -> None:
    """Take one datagram.

    Raises
    ------
    MessageFault
        It has no whole header.
    """
    data, end = arrival.data, arrival.end
    if end - arrival.at < 8:
        raise MessageFault(FaultReason.SHORT_HEADER, arrival.at)
    try:
        agent, at = address(data, arrival.at + 4, end)
    except MessageFault as e:
        raise MessageFault(FaultReason.SHORT_HEADER, e.at) from e
    if at + _REST.size > end:
        raise MessageFault(FaultReason.SHORT_HEADER, at)
    sub_agent, number, uptime, samples = _REST.unpack_from(data, at)
    exporter = agent if rules.agent_is_exporter and agent != NO_ADDRESS else arrival.sender
    session = sessions.of((arrival.sender, agent, 0, LABEL, sub_agent), exporter, arrival.received_us)
    session.counts["datagrams"] += 1
    session.sequence.take(number, 1, arrival.received_us // 1000, uptime, port=arrival.port, left_out=arrival.kept_of - 1)
    sources = len(session.sources)
    times = (arrival.received_us, arrival.received_us, uptime)
    numbers = (chunk.session_number(session), chunk.option_number(session.options), 0, 0, number, arrival.port)
    reading = SampleReading(chunk, session, arrival, rules, len(chunk.parts), arrival.received_us // 1000, uptime)
    chunk.parts.append(RecordPart(arrival.number, *numbers, *times, 0.0, arrival.kept_of))
    before = chunk.rows
    fault = None if _plain(reading, at + _REST.size, samples) else _samples(reading, at + _REST.size, samples)
    session.counts["records"] += chunk.rows - before
    if fault is not None:
        chunk.rejected.append(Rejected(arrival.number, fault.reason, fault.at - arrival.at, False))
    if len(session.sources) != sources or session.counts["datagrams"] == 1:
        sessions.weigh(session, rules)


def _plain(reading: SampleReading, at: int, count: int) -> bool:
    """Read a datagram that is like most; it comes to the same as the longer way. False, and nothing done: it is another one."""
    chunk, arrival, rows = reading.chunk, reading.arrival, reading.chunk.samples
    if rows.data is not arrival.data:
        rows.data, rows.octets = arrival.data, np.frombuffer(arrival.data, np.uint8)
    n = plain_samples(rows.octets, arrival.at, at, arrival.end, count, rows.room)
    if n < 0:
        return False
    if n:
        found = rows.room[:n]
        found["part"] = reading.part
        heads = zip(*(found[name].tolist() for name in ("source_type", "source", "number", "pool", "told", "drops")), strict=True)
        found["rate"], found["rate_source"] = zip(*(_rate(reading, *head) for head in heads), strict=True)
        rows.plain.append(found.tobytes())
        chunk.rows += n
    return True


def _rate(reading: SampleReading, source_type: int, index: int, number: int, pool: int, told: int, drops: int) -> tuple[float, int]:
    """What a flow sample stands for, and where that comes from; its source is followed."""
    source, newest = _follow(reading, FLOW, source_type, index, number)
    if newest:
        source.drops = drops
    return source.rate(number, pool, told, newest)


def _samples(reading: SampleReading, at: int, count: int) -> MessageFault | None:
    """Read the samples; the first fault, if any."""
    data, end, first = reading.arrival.data, reading.arrival.end, None
    while count and at < end:
        if at + _FORMAT.size > end:
            reading.session.counts[FaultReason.BAD_SAMPLE] += 1
            return first or MessageFault(FaultReason.BAD_SAMPLE, at)
        kind, size = _FORMAT.unpack_from(data, at)
        at += _FORMAT.size
        if at + size > end:
            reading.session.counts[FaultReason.BAD_SAMPLE] += 1
            return first or MessageFault(FaultReason.BAD_SAMPLE, at)
        try:
            _sample(reading, kind, at, at + size)
        except MessageFault as fault:
            reading.session.counts[fault.reason] += 1
            first = first or fault
        at += size
        count -= 1
    if count and first is None:
        reading.session.counts[FaultReason.BAD_SAMPLE] += 1
        first = MessageFault(FaultReason.BAD_SAMPLE, at)
    return first


def _sample(reading: SampleReading, kind: int, at: int, end: int) -> None:
    if kind in (FLOW, FLOW_EXPANDED):
        _flow(reading, kind, at, end)
    elif kind in (COUNTERS, COUNTERS_EXPANDED):
        _counters(reading, kind, at, end)
    elif kind == DROP:
        _drop(reading, at, end)
    else:
        reading.session.counts["unknown_samples"] += 1


def _fits(layout: struct.Struct, at: int, end: int) -> None:
    if at + layout.size > end:
        raise MessageFault(FaultReason.BAD_SAMPLE, at)


def _follow(reading: SampleReading, kind: int, source_type: int, number: int, sample: int) -> tuple[SampleSource, bool]:
    """Follow the samples of a data source; whether this is the newest. Of too many sources, the last ones are not remembered."""
    sources = reading.session.sources
    key = (kind, source_type, number)
    source = sources.get(key)  # type: ignore[call-overload]  # equal to its tuple
    if source is None:
        source = SampleSource()
        if len(sources) < reading.rules.most_sources:
            sources[SourceKey(*key)] = source
    return source, source.follow(sample, reading.session.sequence, reading.received_ms, reading.uptime_ms, reading.arrival.port)


def _flow(reading: SampleReading, kind: int, at: int, end: int) -> None:
    data = reading.arrival.data
    if kind == FLOW:
        _fits(_FLOW, at, end)
        number, source_id, told, pool, drops, came, went, records = _FLOW.unpack_from(data, at)
        source_type, index = source_id >> _SOURCE_BITS, source_id & _SOURCE
        came_format, came, went_format, went = came >> _VALUE_BITS, came & _VALUE, went >> _VALUE_BITS, went & _VALUE
        first = at + _FLOW.size
    else:
        _fits(_FLOW_EXPANDED, at, end)
        said_head = _FLOW_EXPANDED.unpack_from(data, at)
        number, source_type, index, told, pool, drops, came_format, came, went_format, went, records = said_head
        first = at + _FLOW_EXPANDED.size
    rate, rate_source = _rate(reading, source_type, index, number, pool, told, drops)
    said: Said = {"position": at - reading.arrival.at, "rate": rate, "rate_source": rate_source}
    if came_format == _SINGLE:
        said["input"] = came
    if went_format == _SINGLE:
        said["output"] = went
    elif went_format == _DISCARDED:
        said |= {"marks": int(FlowMark.DISCARDED), "drop_reason": min(went, _MOST_REASON)}
    elif went_format == _SEVERAL:
        said["marks"] = int(FlowMark.MANY_OUTPUTS)
    _finish(reading, PacketSample(reading.part, said), records, first, end)


def _drop(reading: SampleReading, at: int, end: int) -> None:
    """A notification of a discarded packet."""
    _fits(_DROP, at, end)
    number, source_type, index, _, came, went, reason, records = _DROP.unpack_from(reading.arrival.data, at)
    _follow(reading, DROP, source_type, index, number)
    marks = int(FlowMark.DISCARDED | FlowMark.DROP_REPORT)
    said: Said = {"position": at - reading.arrival.at, "marks": marks, "drop_reason": min(reason, _MOST_REASON)}
    reading.session.counts["drop_samples"] += 1
    _finish(reading, PacketSample(reading.part, said | {"input": came, "output": went}), records, at + _DROP.size, end)


def _finish(reading: SampleReading, sample: PacketSample, records: int, at: int, end: int) -> None:
    """Keep a sample, with what its records say; a packet was sampled, whatever they look like."""
    reading.chunk.samples.flows.append(sample)
    reading.chunk.rows += 1
    data = reading.arrival.data
    for kind, first, last in _records(data, at, end, records):
        read(sample, kind, data, first, last)


def _records(data: bytes, at: int, end: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Kind (format, and above its 12 bits the enterprise) and place of each record of a sample."""
    while count and at < end:
        if at + 8 > end:
            raise MessageFault(FaultReason.BAD_SAMPLE, at)
        kind, size = _FORMAT.unpack_from(data, at)
        at += 8
        if at + size > end:
            raise MessageFault(FaultReason.BAD_SAMPLE, at)
        yield kind, at, at + size
        at += size + -size % 4
        count -= 1


def _counters(reading: SampleReading, kind: int, at: int, end: int) -> None:
    data = reading.arrival.data
    if kind == COUNTERS_EXPANDED:
        _fits(_COUNTERS_EXPANDED, at, end)
        number, source_type, index, records = _COUNTERS_EXPANDED.unpack_from(data, at)
        at += _COUNTERS_EXPANDED.size
    else:
        _fits(_COUNTERS, at, end)
        number, source, records = _COUNTERS.unpack_from(data, at)
        source_type, index = source >> _SOURCE_BITS, source & _SOURCE
        at += _COUNTERS.size
    _follow(reading, COUNTERS, source_type, index, number)
    reading.session.counts["counter_samples"] += 1
    for found, first, last in _records(data, at, end, records):
        if found == _IF_COUNTERS and last - first >= _INTERFACE.size:
            reading.chunk.samples.counters.append((reading.part, *_INTERFACE.unpack_from(data, first)))
