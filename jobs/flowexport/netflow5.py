"""NetFlow v5: a header of 24 bytes and at most 30 records of 48 (Cisco, "NetFlow Export Datagram Format").

A record is one of a template that never changes.
"""

from __future__ import annotations

import struct

from jobs.flowexport.chunk import ExportChunk, RecordBytes, RecordPart
from jobs.flowexport.datagrams import NO_ADDRESS, Arrival
from jobs.flowexport.elements import Element as E
from jobs.flowexport.faults import FaultReason, MessageFault, Rejected
from jobs.flowexport.layouts import FieldSpec, compiled
from jobs.flowexport.rules import DecodeRules
from jobs.flowexport.sequence import ANY
from jobs.flowexport.session import ExportSessions

VERSION = 5
#: Version, count, uptime, seconds, nanoseconds, sequence, engine type and id, sampling mode and interval.
_HEADER = struct.Struct(">HHIIIIBBH")
RECORD = 48
#: Two bits of mode, then the interval.
_INTERVAL = 0x3FFF

_FIELDS = tuple(
    FieldSpec(0, int(element), length)
    for element, length in (
        (E.SOURCE_V4, 4),
        (E.DESTINATION_V4, 4),
        (E.NEXT_HOP_V4, 4),
        (E.INPUT, 2),
        (E.OUTPUT, 2),
        (E.PACKETS, 4),
        (E.OCTETS, 4),
        (E.START_UPTIME, 4),
        (E.END_UPTIME, 4),
        (E.SOURCE_PORT, 2),
        (E.DESTINATION_PORT, 2),
        (E.PADDING, 1),
        (E.TCP_FLAGS, 1),
        (E.PROTOCOL, 1),
        (E.TOS, 1),
        (E.SOURCE_AS, 2),
        (E.DESTINATION_AS, 2),
        (E.SOURCE_MASK_V4, 1),
        (E.DESTINATION_MASK_V4, 1),
        (E.PADDING, 2),
    )
)
_LAYOUT = compiled(_FIELDS)


def take(chunk: ExportChunk, sessions: ExportSessions, arrival: Arrival, rules: DecodeRules) -> None:
    """Take one datagram.

    Raises
    ------
    MessageFault
        It is shorter than its header.
    """
    if arrival.end - arrival.at < _HEADER.size:
        raise MessageFault(FaultReason.SHORT_HEADER, arrival.at)
    _, count, uptime, seconds, nanos, number, engine_type, engine, sampling = _HEADER.unpack_from(arrival.data, arrival.at)
    port = arrival.port if rules.by_port else 0
    key = (arrival.sender, NO_ADDRESS, port, VERSION, engine_type << 8 | engine)
    session = sessions.of(key, arrival.sender, arrival.received_us)
    if session.counts["datagrams"] == 0:
        sessions.weigh(session, rules)
    at = arrival.at + _HEADER.size
    there = min(count, (arrival.end - at) // RECORD)
    if there < count:
        session.counts[FaultReason.SHORT_RECORDS] += 1
        place = at + there * RECORD - arrival.at
        chunk.rejected.append(Rejected(arrival.number, FaultReason.SHORT_RECORDS, place, there == 0))
    exported_us = seconds * 1_000_000 + nanos % 1_000_000_000 // 1000
    # what the header counts was sent, whether it arrived or not
    session.sequence.take(number, count, exported_us // 1000, uptime, port=arrival.port, left_out=ANY if arrival.kept_of > 1 else 0)
    session.counts["datagrams"] += 1
    session.counts["records"] += there
    if there == 0:
        return
    rate = float(max(sampling & _INTERVAL, 1))
    part = RecordPart(
        arrival.number,
        chunk.session_number(session),
        chunk.option_number(session.options),
        0,
        at - arrival.at,
        number,
        arrival.port,
        arrival.received_us,
        exported_us,
        uptime,
        rate,
        arrival.kept_of,
    )
    chunk.add(_LAYOUT, part, RecordBytes(there, [arrival.data[at : at + there * RECORD]], [], []))
