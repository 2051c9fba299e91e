"""What a collector learns of datagrams that it sends on undecoded: templates, names and rates; and about how many records they hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence as Several

from jobs.flowexport import decoder, netflow5
from jobs.flowexport.datagrams import NO_ADDRESS
from jobs.flowexport.handover import keep_marks
from jobs.flowexport.rules import DecodeRules
from jobs.flowexport.sequence import Sequence
from jobs.flowexport.session import ExportSession, ExportSessions
from jobs.flowexport.templates import FIRST_ID
from jobs.flowexport.versions import IPFIX, NETFLOW9
from jobs.flowexport.waiting import Waiting
from jobs.sources.netflow.directrows import batch_of
from schemas.rawflows import RawDatagram
from sensors.netflow.streams import sets

#: Where the domain lies, by version; an unsigned number of four bytes.
_DOMAIN = {NETFLOW9: 16, IPFIX: 12}
_SFLOW = b"\x00\x00\x00\x05"
#: Bytes of a record of which nothing is known.
_ABOUT = 48


class TemplateFollower:
    """Keeps what is known of exporters up to date while another decoder decodes what they send.

    Only datagrams that define something are decoded, and their records thrown away. Of data whose template is not known a mark is kept
    (:func:`jobs.flowexport.handover.keep_marks`): the other decoder holds them until it comes.
    """

    def __init__(self, sessions: ExportSessions, rules: DecodeRules) -> None:
        self._sessions, self._rules = sessions, rules

    def follow(self, datagrams: Several[RawDatagram]) -> int:
        """Take note of datagrams; about how many records they, and those that they stand for, hold (variable length: at most)."""
        records = 0
        teaching: list[RawDatagram] = []
        for one in datagrams:
            version = int.from_bytes(one.payload[:2], "big")
            if version in _DOMAIN and len(one.payload) >= _DOMAIN[version] + 4:
                n, teaches = self._sets(one, version)
                if teaches:
                    teaching.append(one)
            else:
                n = _told(one.payload, version)
            records += n * one.kept_of
        if teaching:
            self._learn(teaching)
        return records

    def _key(self, one: RawDatagram, version: int) -> tuple[bytes, bytes, int, int, int]:
        at = _DOMAIN[version]
        domain = int.from_bytes(one.payload[at : at + 4], "big")
        return (one.sender, NO_ADDRESS, one.port if self._rules.by_port else 0, version, domain)

    def _sets(self, one: RawDatagram, version: int) -> tuple[int, bool]:
        """Records of a datagram, and whether it defines something."""
        session = self._sessions.of(self._key(one, version), one.sender, one.received_us)
        known = session.key in self._sessions.weights
        records, teaches = 0, False
        for number, at, end in sets(one.payload):
            if number < FIRST_ID:
                teaches = True
                continue
            template = session.template(number, one.received_us, self._rules)
            if template is None:
                known &= number in session.room.sets
                _mark(session, number, one)
                records += max((end - at) // _ABOUT, 1)
            elif template.scopes:
                teaches = True
            else:
                records += (end - at) // template.layout.least
        if not known:
            self._sessions.weigh(session, self._rules)
        return records, teaches

    def _learn(self, teaching: Several[RawDatagram]) -> None:
        keys = {self._key(one, int.from_bytes(one.payload[:2], "big")) for one in teaching}
        kept = []
        for key in keys:
            session = self._sessions.known.get(key)  # type: ignore[call-overload]  # equal to its tuple
            if session is not None:  # else forgotten: too many send
                kept.append((session, session.sequence, Counter(session.counts)))
                session.sequence = Sequence()
        for _ in decoder.decode(batch_of(teaching), self._sessions, self._rules):
            pass
        for session, sequence, counts in kept:
            session.sequence, session.counts = sequence, counts
            keep_marks(session)


def _mark(session: ExportSession, number: int, one: RawDatagram) -> None:
    """Data of a template wait elsewhere."""
    session.room.take(number)
    session.room.add(Waiting(number, b"", one.received_us, 0, 0, 0, 0, one.port, 1), _ROOMY)


_ROOMY = DecodeRules()


def _told(payload: bytes, version: int) -> int:
    """Records by the header of NetFlow v5, samples by that of sFlow."""
    if version == netflow5.VERSION:
        return min(int.from_bytes(payload[2:4], "big"), len(payload) // _ABOUT)
    if payload[:4] != _SFLOW:
        return 0
    at = 24 if payload[4:8] == b"\x00\x00\x00\x01" else 36
    return min(int.from_bytes(payload[at : at + 4], "big"), len(payload) // 8)
