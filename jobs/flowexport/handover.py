"""What one decoder knows of exporters, handed to another one: in pieces that fit messages, and taken over where nothing newer is known.

What is handed over is knowledge: templates, what exporters say of themselves, where their counts stand, and data that wait for a template.
Counts of what happened stay with the decoder that saw it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from jobs.flowexport import decoder
from jobs.flowexport.chunk import ExportChunk
from jobs.flowexport.datagrams import Arrival
from jobs.flowexport.datasets import SetMessage, decode_waiting
from jobs.flowexport.decoder import Decoded
from jobs.flowexport.domaincounts import DomainCounts
from jobs.flowexport.faults import FaultReason
from jobs.flowexport.optiondata import OptionData
from jobs.flowexport.rules import DecodeRules
from jobs.flowexport.sampling import SampleSource
from jobs.flowexport.sequence import Sequence
from jobs.flowexport.session import ExportSession, ExportSessions
from jobs.flowexport.waiting import Waiting, WaitingRoom

T = TypeVar("T")

#: Of what is handed over at once, as :meth:`jobs.flowexport.session.ExportSession.weight` counts. As text it is six times as much at worst
#: (names whose letters are all escaped), which a message still holds.
PIECE_BYTES = 100_000
#: Of a piece: fields of templates, names, sources.
_FIELDS, _NAMES, _SOURCES = 400, 400, 100
_TABLES = ("samplers", "by_interface", "interfaces", "vrfs", "applications")
#: What was kept within bounds is taken as it is.
_UNBOUNDED = DecodeRules(waiting_bytes=1 << 62)


def packed(sessions: Iterable[ExportSession]) -> Iterator[ExportSessions]:
    """Sessions by some 100 kB; one that is more comes in several pieces, which together say all of it, however often each is read."""
    some, held = ExportSessions(), 0
    for session in sessions:
        for piece in _pieces(session):
            weight = piece.weight()
            if some.known and (piece.key in some.known or held + weight > PIECE_BYTES):
                yield some
                some, held = ExportSessions(), 0
            some.known[piece.key] = piece
            if (counts := session.exporter_domains) is not None:
                some.domains[piece.key.sender, piece.key.port] = DomainCounts({}, counts.last, counts.joined, counts.apart)
            held += weight
    if some.known:
        yield some


def _pieces(session: ExportSession) -> Iterator[ExportSession]:
    if session.weight() <= PIECE_BYTES:
        yield session
        return
    said = session.options
    yield _piece(session, sequence=session.sequence, options=OptionData(rate=said.rate, boot_ms=said.boot_ms))
    for templates in _cut(session.templates.values(), lambda t: len(t.fields), _FIELDS):
        yield _piece(session, templates={t.number: t for t in templates}, fields=sum(len(t.fields) for t in templates))
    for name in _TABLES:
        for names in _cut(getattr(said, name).items(), _one, _NAMES):
            part = OptionData()
            setattr(part, name, dict(names))
            yield _piece(session, options=part)
    for sources in _cut(session.sources.items(), _one, _SOURCES):
        yield _piece(session, sources=dict(sources))
    for waiting in _cut((w for some in session.room.sets.values() for w in some), lambda w: len(w.body), PIECE_BYTES):
        piece = _piece(session)
        for one in waiting:
            piece.room.add(one, _UNBOUNDED)
        yield piece


def _piece(session: ExportSession, **parts: object) -> ExportSession:
    return ExportSession(session.key, session.exporter, seen_us=session.seen_us, **parts)  # type: ignore[arg-type]


def _one(_item: object) -> int:
    return 1


def _cut(items: Iterable[T], size: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Items in lists of so much at most, or of one item."""
    some: list[T] = []
    held = 0
    for item in items:
        if some and held + size(item) > most:
            yield some
            some, held = [], 0
        some.append(item)
        held += size(item)
    if some:
        yield some


def let_go(session: ExportSession) -> None:
    """Forget what another decoder goes on with: where counts stand, and the bodies of data that wait.

    That data of a template wait stays known, so that the exporter is not taken back before it has come.
    """
    session.sequence = _begun_anew(session.sequence)
    session.sources = {key: SampleSource(_begun_anew(s.sequence), drops=s.drops) for key, s in session.sources.items()}
    keep_marks(session)


def _begun_anew(sequence: Sequence) -> Sequence:
    return Sequence(**{name: getattr(sequence, name) for name in _COUNTED})


#: Of a :class:`Sequence`: what happened. The rest is where it stands.
_COUNTED = ("lost", "late", "repeated", "restarts", "spared")


def keep_marks(session: ExportSession) -> None:
    """Of data that wait, keep for which templates, and since when the newest do."""
    sets, session.room = session.room.sets, WaitingRoom()
    for some in sets.values():
        session.room.add(some[-1]._replace(body=b""), _UNBOUNDED)
    session.room.oldest_us = min((w.received_us for some in session.room.sets.values() for w in some), default=0)


def adopt(given: ExportSessions, sessions: ExportSessions, rules: DecodeRules) -> Iterator[Decoded]:
    """Take over what another decoder knew, where nothing newer is known; what waits with a template that is known then, is decoded.

    Parameters
    ----------
    given
        What it knew.
    sessions
        What is known here; changed.
    rules
        Bounds.

    Yields
    ------
    Decoded
        Records of data that had waited.
    """
    chunk = ExportChunk()
    for one in given.known.values():
        before = sessions.known.get(one.key)
        newer = before is None or one.seen_us >= before.seen_us
        known = sessions.of(one.key, one.exporter, one.seen_us)
        if newer:
            _follow(known, one)
        due = _learn(known, one, rules)
        _release(chunk, known, due, rules)
        sessions.weigh(known, rules)
    for exporter, counts in given.domains.items():
        _judge_alike(sessions.domains.get(exporter), counts)
    if chunk.rows:
        yield decoder.finished(chunk, rules)


def _follow(known: ExportSession, one: ExportSession) -> None:
    """Go on where the other one stood."""
    if one.sequence.expected >= 0:
        known.sequence = replace(one.sequence, **{name: getattr(known.sequence, name) for name in _COUNTED})
    for key, source in one.sources.items():
        if source.sequence.expected < 0:  # silent since it was let go
            continue
        old = known.sources[key].sequence if key in known.sources else Sequence()
        known.sources[key] = replace(source, sequence=replace(source.sequence, **{name: getattr(old, name) for name in _COUNTED}))
    said, before = one.options, known.options
    tables = {name: {**getattr(before, name), **getattr(said, name)} for name in _TABLES}
    known.options = OptionData(rate=said.rate or before.rate, boot_ms=said.boot_ms or before.boot_ms, **tables)


def _judge_alike(known: DomainCounts | None, counts: DomainCounts) -> None:
    """How an exporter's domains count is judged as by who saw more of it."""
    if known is not None and counts.joined + counts.apart > known.joined + known.apart:
        known.joined, known.apart = counts.joined, counts.apart
        known.last = counts.last if counts.last in known.domains else known.last


def _learn(known: ExportSession, one: ExportSession, rules: DecodeRules) -> list[Waiting]:
    """Templates that are newer than those known; what waits and need not any more."""
    due: list[Waiting] = []
    for number, template in one.templates.items():
        old = known.templates.get(number)
        if (old is None or old.learned_us <= template.learned_us) and known.keep(template, rules):
            due += known.room.take(number)
    there = {w for some in known.room.sets.values() for w in some}
    for waiting in (w for some in one.room.sets.values() for w in some if w.body and w not in there):
        if waiting.template in known.templates:
            due.append(waiting)
        elif not known.room.add(waiting, rules):
            known.counts[FaultReason.NO_TEMPLATE] += 1
    return due


def _release(chunk: ExportChunk, session: ExportSession, due: list[Waiting], rules: DecodeRules) -> None:
    """Decode data that had waited."""
    key = session.key
    arrival = Arrival(b"", 0, 0, -1, key.sender, key.port, session.seen_us, 1)
    for waiting in due:
        message = SetMessage(chunk, session, arrival, rules, key.version, 0, 0, -1, False)
        decode_waiting(message, waiting)
    if due and not session.room.sets:
        session.sequence.settle()
