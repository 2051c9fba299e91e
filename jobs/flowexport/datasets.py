"""What is in the sets of a message of NetFlow v9 or IPFIX: templates, options, data; and data that had waited for their template.

What is found is held back in the message until all of it has been read, since of an IPFIX message all counts or nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from jobs.flowexport.chunk import ExportChunk, RecordBytes, RecordPart
from jobs.flowexport.datagrams import Arrival
from jobs.flowexport.faults import FaultReason, MessageFault, Rejected
from jobs.flowexport.fieldvalues import take_apart, values
from jobs.flowexport.layouts import Layout
from jobs.flowexport.optiondata import learned
from jobs.flowexport.rules import DecodeRules
from jobs.flowexport.session import ExportSession
from jobs.flowexport.templates import FIRST_ID, Template, options_v9, templates_ipfix, templates_v9
from jobs.flowexport.versions import IPFIX, NETFLOW9
from jobs.flowexport.waiting import Waiting

#: Set ids.
TEMPLATES_9, OPTIONS_9, TEMPLATES_10, OPTIONS_10 = 0, 1, 2, 3


@dataclass(slots=True)
class SetMessage:
    """A message on its way: what its header says, and what was found in it so far."""

    chunk: ExportChunk
    session: ExportSession
    arrival: Arrival
    rules: DecodeRules
    version: int
    sequence: int
    exported_us: int
    uptime_ms: int
    changed: bool  # something is kept that was not
    records: int = 0  # data records, options too
    optional: int = 0  # of options
    late_records: int = 0  # that had waited
    flows: list[tuple[Layout, RecordPart, RecordBytes]] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    due: list[Waiting] = field(default_factory=list)  # from earlier datagrams
    fault: MessageFault | None = None  # the first one
    rejected: bool = False


def take_set(message: SetMessage, number: int, at: int, end: int) -> None:
    """Take one set, whose content is ``data[at:end]``.

    Raises
    ------
    MessageFault
        It cannot be read.
    """
    data, now = message.arrival.data, message.arrival.received_us
    if number >= FIRST_ID:
        _data(message, number, at, end)
    elif message.version == NETFLOW9 and number == TEMPLATES_9:
        _learn(message, list(templates_v9(data, at, end, now)), at)
    elif message.version == NETFLOW9 and number == OPTIONS_9:
        _learn(message, list(options_v9(data, at, end, now)), at)
    elif message.version == IPFIX and number in (TEMPLATES_10, OPTIONS_10):
        _learn(message, list(templates_ipfix(data, at, end, now, options=number == OPTIONS_10)), at)
    else:
        message.session.counts["reserved_sets"] += 1  # RFC 7011, 3.3.2: to be passed over


def _learn(message: SetMessage, templates: list[Template], at: int) -> None:
    session, rules = message.session, message.rules
    for template in templates:
        if not template.fields and message.version == IPFIX:
            session.counts["withdrawals_ignored"] += 1  # RFC 7011, 8.4: over UDP nothing is withdrawn
            continue
        reason = _unfit(template, rules)
        if reason is None and not session.learn(template, rules):
            reason = FaultReason.TOO_MANY_TEMPLATES
        if reason is not None:
            note_fault(message, MessageFault(reason, at))
            continue
        message.changed = True
        for waiting in session.room.take(template.number):
            message.due.append(waiting)


def _unfit(template: Template, rules: DecodeRules) -> FaultReason | None:
    if not any(f.length for f in template.fields):
        return FaultReason.EMPTY_TEMPLATE
    return FaultReason.BAD_TEMPLATE if len(template.fields) > rules.most_fields else None


def _data(message: SetMessage, number: int, at: int, end: int) -> None:
    arrival, session = message.arrival, message.session
    template = session.template(number, arrival.received_us, message.rules)
    if template is None:
        base = at - arrival.at
        body = arrival.data[at:end]
        of = (arrival.received_us, message.exported_us, message.uptime_ms, message.sequence, base, arrival.port, arrival.kept_of)
        message.waiting.append(Waiting(number, body, *of))
        return
    if template.scopes:
        count = _options(message, template, arrival.data, at, end)
        message.records += count
        message.optional += count
        return
    layout = template.layout
    records = _record_bytes(layout, arrival.data, at, end)
    if message.records + records.n > message.rules.most_records:
        raise MessageFault(FaultReason.TOO_MANY_RECORDS, at)
    if records.n:
        message.records += records.n
        part = _part(message, number, at - arrival.at)
        if records.starts:
            records = records._replace(starts=[s - arrival.at for s in records.starts])
        message.flows.append((layout, part, records))


def _record_bytes(layout: Layout, data: bytes, at: int, end: int) -> RecordBytes:
    if layout.variable:
        pieces, found, starts = take_apart(layout, data, at, end)
        return RecordBytes(len(found), pieces, found, starts)
    count = (end - at) // layout.fixed
    return RecordBytes(count, [data[at : at + count * layout.fixed]], [], [])


def _part(message: SetMessage, template: int, base: int) -> RecordPart:
    arrival, chunk = message.arrival, message.chunk
    session, options = chunk.session_number(message.session), chunk.option_number(message.session.options)
    times = (arrival.received_us, message.exported_us, message.uptime_ms)
    return RecordPart(arrival.number, session, options, template, base, message.sequence, arrival.port, *times, 0.0, arrival.kept_of)


def _options(message: SetMessage, template: Template, data: bytes, at: int, end: int) -> int:
    """Take options records; how many."""
    session = message.session
    records = list(values(template.fields, template.layout.least, data, at, end))
    if message.records + len(records) > message.rules.most_records:
        raise MessageFault(FaultReason.TOO_MANY_RECORDS, at)
    if records:
        before = session.options
        session.options = learned(before, template.fields, records, message.rules.most_names)
        session.counts["options_records"] += len(records)
        message.changed = True
    return len(records)


def commit(message: SetMessage) -> None:
    """What was found is kept: records of this message, then those that had waited for a template in it."""
    session, chunk = message.session, message.chunk
    for layout, part, records in message.flows:
        chunk.add(layout, part, records)
        session.counts["records"] += records.n
    for w in message.due:
        decode_waiting(message, w)
    for w in message.waiting:
        template = session.templates.get(w.template)
        if template is not None:  # defined further on in the same message
            decode_waiting(message, w, message.arrival.number)
        elif session.room.add(w, message.rules):
            session.counts["waited"] += 1
            message.changed = True
        else:
            session.counts[FaultReason.NO_TEMPLATE] += 1
            reject(message, MessageFault(FaultReason.NO_TEMPLATE, message.arrival.at + w.base), whole=False)
    if not session.room.sets:
        session.sequence.settle()


def decode_waiting(message: SetMessage, w: Waiting, datagram: int = -1) -> None:
    """Decode a set that came before its template."""
    session, chunk = message.session, message.chunk
    template = session.templates.get(w.template)
    if template is None:
        return
    layout = template.layout
    try:
        if template.scopes:
            count = _options(message, template, w.body, 0, len(w.body))
        else:
            records = _record_bytes(layout, w.body, 0, len(w.body))
            count = records.n
            message.late_records += count
            if count > message.rules.most_records or message.late_records > message.rules.most_late_records:
                raise MessageFault(FaultReason.TOO_MANY_RECORDS, 0)
            records = records._replace(starts=[s + w.base for s in records.starts])
            numbers = (chunk.session_number(session), chunk.option_number(session.options), w.template, w.base, w.sequence, w.port)
            if count:
                chunk.add(layout, RecordPart(datagram, *numbers, w.received_us, w.exported_us, w.uptime_ms, 0.0, w.kept_of), records)
            session.counts["records"] += count
    except MessageFault as fault:
        session.counts[fault.reason] += 1
        return
    session.counts["waited_decoded"] += int(datagram < 0)
    if message.version == IPFIX:
        session.found(w.sequence, count)


def note_fault(message: SetMessage, fault: MessageFault) -> None:
    """Count a fault that costs a part of the message."""
    message.session.counts[fault.reason] += 1
    message.fault = message.fault or fault


def reject(message: SetMessage, fault: MessageFault, *, whole: bool) -> None:
    """Name the datagram for a dead letter, once."""
    arrival = message.arrival
    if not message.rejected:
        message.chunk.rejected.append(Rejected(arrival.number, fault.reason, fault.at - arrival.at, whole))
    message.rejected = True
