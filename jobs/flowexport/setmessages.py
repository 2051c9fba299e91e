"""NetFlow v9 and IPFIX: messages made of sets of templates, of options and of data.

RFC 3954, 5 and RFC 7011, 3. The count of a v9 header is not relied on, since exporters differ in what they count; the length of an IPFIX
message is. A fault in a v9 FlowSet costs that one; one in an IPFIX message the message (RFC 7011, 9), with whatever it defined.
"""

from __future__ import annotations

import struct

from jobs.flowexport.chunk import ExportChunk, RecordBytes, RecordPart
from jobs.flowexport.datagrams import NO_ADDRESS, Arrival
from jobs.flowexport.datasets import OPTIONS_10, TEMPLATES_10, SetMessage, commit, note_fault, reject, take_set
from jobs.flowexport.faults import FaultReason, MessageFault
from jobs.flowexport.rules import DecodeRules
from jobs.flowexport.sequence import ANY
from jobs.flowexport.session import ExportSession, ExportSessions
from jobs.flowexport.templates import FIRST_ID
from jobs.flowexport.versions import IPFIX, NETFLOW9

#: v9: version, count, uptime, seconds, sequence, source id. IPFIX: version, length, seconds, sequence, observation domain.
_HEADER_9, _HEADER_10 = struct.Struct(">HHIIII"), struct.Struct(">HHIII")
_SET = struct.Struct(">HH")


def take(chunk: ExportChunk, sessions: ExportSessions, arrival: Arrival, rules: DecodeRules, version: int) -> None:
    """Take one datagram.

    Raises
    ------
    MessageFault
        It has no whole header.
    """
    header = _HEADER_9 if version == NETFLOW9 else _HEADER_10
    if arrival.end - arrival.at < header.size:
        raise MessageFault(FaultReason.SHORT_HEADER, arrival.at)
    said = header.unpack_from(arrival.data, arrival.at)
    seconds, number, domain = said[-3:]
    uptime = said[2] if version == NETFLOW9 else -1
    key = (arrival.sender, NO_ADDRESS, arrival.port if rules.by_port else 0, version, domain)
    session = sessions.of(key, arrival.sender, arrival.received_us)
    counts, at = session.counts, arrival.at + header.size
    end = arrival.end if version == NETFLOW9 else arrival.at + said[1]
    changed = not counts["datagrams"]
    counts["datagrams"] += 1
    if session.room.sets:
        expired = session.room.expire(arrival.received_us, rules)
        counts[FaultReason.NO_TEMPLATE] += expired
        changed |= expired > 0
    elif end == arrival.end and _single(chunk, session, arrival, rules, at, number, seconds, uptime):
        return
    message = SetMessage(chunk, session, arrival, rules, version, number, seconds * 1_000_000, uptime, changed)
    if version == NETFLOW9:
        _tolerant(message, at)
    else:
        _strict(message, at, end)
    if message.changed:
        sessions.weigh(session, rules)


def _single(
    chunk: ExportChunk,
    session: ExportSession,
    arrival: Arrival,
    rules: DecodeRules,
    at: int,
    number: int,
    seconds: int,
    uptime: int,
) -> bool:
    """Take a datagram that is like most: one set, of flows of fixed length, whose template is known, while nothing waits.

    It comes to the same as the longer way, which costs twice as much; False, and nothing done: it is another one.
    """
    data, end = arrival.data, arrival.end
    if end - at < _SET.size:
        return False
    of, length = _SET.unpack_from(data, at)
    if of < FIRST_ID or at + length != end:
        return False
    template = session.template(of, arrival.received_us, rules)
    if template is None or template.scopes or template.layout.variable:
        return False
    layout = template.layout
    at += _SET.size
    n = (end - at) // layout.fixed
    if not 0 < n <= rules.most_records:
        return False
    exported_us = seconds * 1_000_000
    left_out = arrival.kept_of - 1 if uptime >= 0 else ANY if arrival.kept_of > 1 else 0
    session.follow(number, 1 if uptime >= 0 else n, seconds * 1000, uptime, port=arrival.port, left_out=left_out)
    session.counts["records"] += n
    numbers = (chunk.session_number(session), chunk.option_number(session.options), of, at - arrival.at, number, arrival.port)
    part = RecordPart(arrival.number, *numbers, arrival.received_us, exported_us, uptime, 0.0, arrival.kept_of)
    chunk.add(layout, part, RecordBytes(n, [data[at : at + n * layout.fixed]], [], []))
    return True


def _tolerant(message: SetMessage, at: int) -> None:
    """The FlowSets of a v9 datagram: each for itself."""
    end = message.arrival.end
    data = message.arrival.data
    while end - at >= _SET.size:
        number, length = _SET.unpack_from(data, at)
        if length < _SET.size or at + length > end:
            if any(data[at:end]):  # else padding up to the end
                note_fault(message, MessageFault(FaultReason.BAD_SET, at))
            break
        try:
            take_set(message, number, at + _SET.size, at + length)
        except MessageFault as fault:
            note_fault(message, fault)
        at += length
    _count(message, 1)
    commit(message)
    if message.fault:
        reject(message, message.fault, whole=not message.records)


def _strict(message: SetMessage, at: int, end: int) -> None:
    """The sets of an IPFIX message: all or, if one cannot be read, none."""
    session = message.session
    kept = (session.templates, session.options)
    try:
        if end > message.arrival.end or end < at:
            raise MessageFault(FaultReason.WRONG_LENGTH, message.arrival.at)
        places = _sets(message.arrival.data, at, end)
        if any(number in (TEMPLATES_10, OPTIONS_10) for number, _, _ in places):
            session.templates = dict(session.templates)
        for number, first, last in places:
            take_set(message, number, first, last)
    except MessageFault as fault:
        session.templates, session.options = kept
        session.fields = sum(len(t.fields) for t in session.templates.values())
        for w in message.due:
            session.room.add(w, message.rules)
        session.counts[fault.reason] += 1
        reject(message, fault, whole=True)
        return
    if end < message.arrival.end:
        session.counts["bytes_behind_message"] += message.arrival.end - end
    _count(message, message.records)
    commit(message)
    if message.fault:
        reject(message, message.fault, whole=False)


def _sets(data: bytes, at: int, end: int) -> list[tuple[int, int, int]]:
    """Id and content of each set of an IPFIX message."""
    found = []
    while at < end:
        if end - at < _SET.size:
            raise MessageFault(FaultReason.BAD_SET, at)
        number, length = _SET.unpack_from(data, at)
        if length < _SET.size or at + length > end:
            raise MessageFault(FaultReason.BAD_SET, at)
        found.append((number, at + _SET.size, at + length))
        at += length
    return found


def _count(message: SetMessage, units: int) -> None:
    """Follow the sequence: ``units`` that this message counts for."""
    session = message.session
    unsure = message.version == IPFIX and bool(session.room.sets or message.due)
    optional = message.optional if message.version == IPFIX else 0
    kept_of = message.arrival.kept_of
    left_out = kept_of - 1 if message.version != IPFIX else ANY if kept_of > 1 else 0
    times = message.exported_us // 1000, message.uptime_ms
    session.follow(message.sequence, units, *times, port=message.arrival.port, waiting=unsure, optional=optional, left_out=left_out)
