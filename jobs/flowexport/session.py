"""What is known of one exporter and domain, and of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jobs.flowexport.domaincounts import DomainCounts
from jobs.flowexport.faults import FaultReason
from jobs.flowexport.optiondata import NOTHING_SAID, OptionData
from jobs.flowexport.rules import DecodeRules
from jobs.flowexport.sampling import SampleSource
from jobs.flowexport.sequence import Sequence
from jobs.flowexport.templates import Template
from jobs.flowexport.versions import IPFIX
from jobs.flowexport.waiting import WaitingRoom

#: Bytes, roughly, of a session, a template, each of its fields, a name, a source.
_SESSION, _TEMPLATE, _FIELD, _NAME, _SOURCE = 2000, 300, 120, 200, 600


class SessionKey(NamedTuple):
    """What tells streams of datagrams apart: addresses of sender and agent (16 bytes; sFlow), port (0: any), version, domain."""

    sender: bytes
    agent: bytes
    port: int
    version: int
    domain: int


class SourceKey(NamedTuple):
    """A count of samples (sFlow): kind of sample, type and number of the data source."""

    kind: int
    type: int
    number: int


@dataclass
class ExportSession:
    """One exporter and domain.

    Attributes
    ----------
    exporter
        Its address, 16 bytes.
    templates
        By id.
    options
        What it says of itself; replaced, never changed in place.
    sequence
        Of records (v5, IPFIX) or datagrams (v9, sFlow).
    sources
        sFlow: samples of each data source.
    room
        Data that wait for their template.
    counts
        What happened, by name: ``datagrams``, ``records`` and others, and each :class:`jobs.flowexport.faults.FaultReason`.
    seen_us
        Receipt of the newest datagram.
    exporter_domains
        IPFIX: how the domains of this exporter count; of other protocols None.
    """

    key: SessionKey
    exporter: bytes
    templates: dict[int, Template] = field(default_factory=dict)
    options: OptionData = field(default_factory=lambda: NOTHING_SAID)
    sequence: Sequence = field(default_factory=Sequence)
    sources: dict[SourceKey, SampleSource] = field(default_factory=dict)
    room: WaitingRoom = field(default_factory=WaitingRoom)
    counts: Counter[str] = field(default_factory=Counter)
    seen_us: int = 0
    fields: int = 0  # of all templates
    exporter_domains: DomainCounts | None = field(default=None, repr=False, compare=False)

    @property
    def waits(self) -> bool:
        """Whether data wait for their template."""
        return bool(self.room.sets)

    def follow(self, first: int, units: int, clock_ms: int, uptime_ms: int = -1, **more: Any) -> bool:
        """Note a datagram's number, as :meth:`jobs.flowexport.sequence.Sequence.take`."""
        shared = self.exporter_domains
        if shared is None or len(shared.domains) == 1:
            return self.sequence.take(first, units, clock_ms, uptime_ms, **more)
        return shared.take(self.key.domain, first, units, clock_ms, uptime_ms, more)

    def found(self, first: int, units: int) -> None:
        """Note that records of an earlier datagram are known now, as :meth:`jobs.flowexport.sequence.Sequence.found`."""
        if self.exporter_domains is None:
            self.sequence.found(first, units)
        else:
            self.exporter_domains.found(self.key.domain, first, units)

    def template(self, number: int, now_us: int, rules: DecodeRules) -> Template | None:
        """The template of an id, unless it was not sent again for too long."""
        found = self.templates.get(number)
        if found is not None and found.expired(now_us, rules):
            self._drop(number)
            self.counts["templates_expired"] += 1
            return None
        return found

    def learn(self, template: Template, rules: DecodeRules) -> bool:
        """Keep a definition, which replaces the one of the same id; False: there are too many."""
        before = self.templates.get(template.number)
        if not self.keep(template.again(before), rules):
            return False
        if before is not None and before.fields != template.fields:
            self.counts["templates_changed"] += 1
        self.counts["templates"] += 1
        return True

    def keep(self, template: Template, rules: DecodeRules) -> bool:
        """Keep a definition as it is, in place of the one of the same id; False: there are too many."""
        if template.number not in self.templates and (
            len(self.templates) >= rules.most_templates or self.fields + len(template.fields) > rules.most_template_fields
        ):
            return False
        self._drop(template.number)
        self.templates[template.number] = template
        self.fields += len(template.fields)
        return True

    def _drop(self, number: int) -> None:
        old = self.templates.pop(number, None)
        self.fields -= len(old.fields) if old else 0

    def weight(self) -> int:
        """Bytes, roughly."""
        held = _TEMPLATE * len(self.templates) + _FIELD * self.fields + _NAME * self.options.names
        return _SESSION + held + _SOURCE * len(self.sources) + self.room.size

    def account(self) -> dict[str, int]:
        """Counts since the exporter was first seen: what came, what was lost, what waits."""
        s = self.sequence
        samples = [source.sequence for source in self.sources.values()]
        return {
            **self.counts,
            "lost": s.lost - min(s.doubt, s.lost),
            "undecided": s.unsure + min(s.doubt, s.lost),
            "spared": s.spared,
            "late": s.late,
            "repeated": s.repeated,
            "restarts": s.restarts,
            "lost_samples": sum(q.lost for q in samples),
            "spared_samples": sum(q.spared for q in samples),
            "agent_drops": sum(source.drops for source in self.sources.values()),
            "templates_known": len(self.templates),
            "waiting_sets": sum(map(len, self.room.sets.values())),
            "waiting_bytes": self.room.size,
        }


@dataclass
class ExportSessions:
    """All exporters and domains that one decoder follows, those that were silent longest first.

    Attributes
    ----------
    known
        By what tells them apart.
    counts
        Of what belongs to none: datagrams of unknown versions, exporters that were forgotten.
    """

    known: dict[SessionKey, ExportSession] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    held: int = 0  # bytes, roughly
    weights: dict[SessionKey, int] = field(default_factory=dict)
    domains: dict[tuple[bytes, int], DomainCounts] = field(default_factory=dict)  # IPFIX: by sender and port

    def of(self, key: tuple[bytes, bytes, int, int, int], exporter: bytes, now_us: int) -> ExportSession:
        """The session of a :class:`SessionKey`, given as a tuple; a new one if there is none."""
        found = self.known.pop(key, None)  # type: ignore[call-overload]  # equal to its tuple
        if found is None:
            return self.add(ExportSession(SessionKey(*key), exporter, seen_us=now_us))
        self.known[found.key] = found  # the last one was heard of last
        if now_us > found.seen_us:
            found.seen_us = now_us
        return found

    def add(self, session: ExportSession) -> ExportSession:
        """Know one more."""
        self.known[session.key] = session
        if session.key.version == IPFIX:
            shared = self.domains.setdefault((session.key.sender, session.key.port), DomainCounts())
            shared.domains[session.key.domain] = session
            if len(shared.domains) == 1:
                shared.last = session.key.domain
            session.exporter_domains = shared
        return session

    def weigh(self, session: ExportSession, rules: DecodeRules) -> None:
        """Take note that a session has grown; forget others if there is too much."""
        weight = session.weight()
        self.held += weight - self.weights.get(session.key, 0)
        self.weights[session.key] = weight
        while self.held > rules.most_bytes and len(self.known) > 1:
            oldest = next(iter(self.known))
            gone = self.known.pop(oldest)
            if gone.exporter_domains is not None:
                gone.exporter_domains.forget(oldest.domain)
                if not gone.exporter_domains.domains:
                    del self.domains[oldest.sender, oldest.port]
            self.held -= self.weights.pop(oldest, 0)
            self.counts[FaultReason.FORGOTTEN] += 1

    def accounts(self) -> Iterator[tuple[SessionKey, dict[str, int]]]:
        """The account of each."""
        for key, session in self.known.items():
            yield key, session.account()
