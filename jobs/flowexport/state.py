"""What is known of exporters as bytes, so that templates and counts outlive a program and follow a stream to another worker.

A head of eight bytes (``"FX"``, version, nothing), then, compressed, a JSON text and behind it the data that wait for their templates.
Nothing in it names a module or a class. A change of what it holds takes a new version, and a reader of the old one.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterator
from typing import Any

from jobs.flowexport.layouts import FieldSpec
from jobs.flowexport.optiondata import OptionData
from jobs.flowexport.rules import DecodeRules
from jobs.flowexport.sampling import SampleSource
from jobs.flowexport.sequence import Sequence
from jobs.flowexport.session import ExportSession, ExportSessions, SessionKey, SourceKey
from jobs.flowexport.templates import Template
from jobs.flowexport.waiting import Waiting, WaitingRoom
from jobs.metering.words import compress, decompress

VERSION = 1
_MAGIC = b"FX"
_HEAD = struct.Struct("<2sHI")
_LENGTH = struct.Struct("<Q")
#: A length beyond is damage, for which no memory is taken.
_MOST_BYTES = 1 << 31


class ExportStateError(ValueError):
    """Bytes that are not the state of a decoder; says what was found."""


def encode(sessions: ExportSessions) -> bytes:
    """As bytes, compressed."""
    bodies: list[bytes] = []
    shared = [[key[0].hex(), key[1], d.last, d.joined, d.apart] for key, d in sessions.domains.items() if d.joined or d.apart]
    about = [dict(sessions.counts), [_said(s, bodies) for s in sessions.known.values()], shared]
    text = json.dumps(about, separators=(",", ":")).encode()
    return _HEAD.pack(_MAGIC, VERSION, 0) + compress(b"".join([_LENGTH.pack(len(text)), text, *bodies]), "lz4")


def decode(blob: bytes) -> ExportSessions:
    """Inverse of :func:`encode`.

    Raises
    ------
    ExportStateError
        Damaged, or of another version.
    """
    if len(blob) < _HEAD.size + 8 or blob[:2] != _MAGIC:
        raise ExportStateError(f"{len(blob)} bytes that begin with {blob[:8].hex() or 'nothing'} are no state of a decoder of flow export")
    _, version, _ = _HEAD.unpack_from(blob)
    if version != VERSION:
        raise ExportStateError(f"a decoder's state of version {version}, this program reads version {VERSION}")
    try:
        if int.from_bytes(blob[_HEAD.size : _HEAD.size + 8], "little") > _MOST_BYTES:
            raise ValueError("a length that cannot be")
        whole = bytes(decompress(memoryview(blob)[_HEAD.size :], "lz4"))
        (length,) = _LENGTH.unpack_from(whole)
        counts, known, *more = json.loads(whole[_LENGTH.size : _LENGTH.size + length])
        bodies = _Bodies(whole, _LENGTH.size + length)
        sessions = ExportSessions(counts=Counter(counts))
        for said in known:
            session = _session(said, bodies)
            sessions.add(session)
            sessions.weigh(session, _UNBOUNDED)
        for sender, port, last, joined, apart in more[0] if more else ():
            domains = sessions.domains[_address(sender), int(port)]
            domains.last, domains.joined, domains.apart = int(last), int(joined), int(apart)
        return sessions
    except (ValueError, KeyError, TypeError, IndexError, OSError, struct.error) as e:
        raise ExportStateError(f"damaged state of a decoder of flow export: {type(e).__name__}: {e}") from e


#: What was kept within bounds is taken as it is.
_UNBOUNDED = DecodeRules(most_bytes=1 << 62, waiting_bytes=1 << 62)


class _Bodies:
    """Data behind the text, taken from the front."""

    def __init__(self, whole: bytes, at: int) -> None:
        self._whole, self._at = whole, at

    def take(self, size: int) -> bytes:
        first, self._at = self._at, self._at + size
        if size < 0 or self._at > len(self._whole):
            raise ValueError("data that wait are cut short")
        return self._whole[first : self._at]


def _said(s: ExportSession, bodies: list[bytes]) -> list[Any]:
    """A session as JSON values; the data that wait go to ``bodies``."""
    waiting = []
    for some in s.room.sets.values():
        for w in some:
            bodies.append(w.body)
            waiting.append([w.template, len(w.body), *w[2:]])
    return [
        [s.key.sender.hex(), s.key.agent.hex(), s.key.port, s.key.version, s.key.domain],
        s.exporter.hex(),
        s.seen_us,
        s.counts,
        [[t.number, t.scopes, t.learned_us, t.interval_us, [n for f in t.fields for n in f]] for t in s.templates.values()],
        _said_options(s.options),
        list(vars(s.sequence).values()),
        [
            [*key, list(vars(source.sequence).values()), source.anchors, source.pool, source.drops, source.datagrams]
            for key, source in s.sources.items()
        ],
        waiting,
    ]


def _said_options(o: OptionData) -> list[Any]:
    tables = [list(table.items()) for table in (o.samplers, o.by_interface, o.interfaces, o.vrfs)]
    return [*tables, [[number.hex(), name] for number, name in o.applications.items()], o.rate, o.boot_ms]


def _session(said: list[Any], bodies: _Bodies) -> ExportSession:
    """Inverse of :func:`_said`."""
    key, exporter, seen_us, counts, templates, options, sequence, sources, waiting = said
    sender, agent, port, version, domain = key
    session = ExportSession(SessionKey(_address(sender), _address(agent), port, version, domain), _address(exporter))
    session.seen_us, session.counts = seen_us, Counter(counts)
    for number, scopes, learned_us, interval_us, flat in templates:
        session.templates[number] = Template(number, tuple(_fields(flat)), scopes, learned_us, interval_us)
    session.fields = sum(len(t.fields) for t in session.templates.values())
    samplers, by_interface, interfaces, vrfs, applications, rate, boot_ms = options
    names = {bytes.fromhex(number): str(name) for number, name in applications}
    session.options = OptionData(dict(samplers), dict(by_interface), float(rate), dict(interfaces), dict(vrfs), names, int(boot_ms))
    session.sequence = Sequence(*sequence)
    for kind, type_, index, count, *rest in sources:
        session.sources[SourceKey(kind, type_, index)] = SampleSource(Sequence(*count), *rest)
    session.room = _room(waiting, bodies)
    return session


def _address(text: str) -> bytes:
    value = bytes.fromhex(text)
    if len(value) != 16:
        raise ValueError(f"an address of {len(value)} bytes")
    return value


def _fields(flat: list[int]) -> Iterator[FieldSpec]:
    for enterprise, element, length in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
        yield FieldSpec(int(enterprise), int(element), int(length))


def _room(waiting: list[list[int]], bodies: _Bodies) -> WaitingRoom:
    room = WaitingRoom()
    for template, size, *rest in waiting:
        one = Waiting(template, bodies.take(size), *rest)
        room.add(one, _UNBOUNDED)
        room.oldest_us = min(room.oldest_us, one.received_us)
    return room
