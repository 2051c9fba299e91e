"""Domains of one exporter that count their records together, though each ought to count its own (RFC 7011, 3.1).

Such an exporter is known by what it does: at a change of the domain its number goes on from the other domain's, where by its own domain's
count records would be missing. Numbers of domains that count for themselves meet so by chance alone; where they count on from their own
number, and not from the other domain's, that speaks against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from jobs.flowexport.sequence import Sequence

#: Changes of the domain that must have gone on from the other's number, and more than did not.
_TWICE = 2
#: Where a count stands, which moves with it from domain to domain; the rest of a sequence is what happened.
_PLACE = ("expected", "units", "optional", "newest", "clock_ms", "uptime_ms", "gaps", "back", "run", "style")


class CountedDomain(Protocol):
    """A domain: :class:`jobs.flowexport.session.ExportSession`."""

    sequence: Sequence

    @property
    def waits(self) -> bool:
        """Whether data wait for their template."""
        ...


@dataclass
class DomainCounts:
    """The domains of one exporter.

    Attributes
    ----------
    domains
        By number.
    last
        Number of the domain that was heard of last; -1: none yet.
    joined, apart
        Changes of the domain that went on from the other's number alone, and from the own one alone.
    """

    domains: dict[int, CountedDomain] = field(default_factory=dict)
    last: int = -1
    joined: int = 0
    apart: int = 0
    _owed: dict[int, int] = field(default_factory=dict)  # of domains: taken for lost before it was known

    @property
    def together(self) -> bool:
        """Whether they count together."""
        return self.joined >= _TWICE and self.joined > self.apart

    def take(self, number: int, first: int, units: int, clock_ms: int, uptime_ms: int, more: Mapping[str, Any]) -> bool:
        """Note a message of a domain; arguments and answer as of :meth:`jobs.flowexport.sequence.Sequence.take`."""
        sequence, other = self.domains[number].sequence, self.domains.get(self.last)
        joins = other is not None and number != self.last and self._judge(first, sequence, other.sequence)
        if self.together:
            more = {**more, "waiting": more.get("waiting", False) or any(one.waits for one in self.domains.values())}
            if other is not None and number != self.last:
                for name in _PLACE:
                    setattr(sequence, name, getattr(other.sequence, name))
                sequence.gaps = list(map(list, other.sequence.gaps))
        lost, unsure, late, missing = sequence.lost, sequence.unsure, sequence.late, _missing(sequence)
        newest = sequence.take(first, units, clock_ms, uptime_ms, **more)
        if joins and not self.together:
            self._owed[number] = self._owed.get(number, 0) + max(sequence.lost - lost, 0)
        if self.together and sequence.late > late:
            noted = lost - sequence.lost + unsure - sequence.unsure
            self._take_off(number, "lost", missing - _missing(sequence) - noted)
        if newest:
            self.last = number
        return newest

    def found(self, number: int, first: int, units: int) -> None:
        """Records that had waited are known now; as :meth:`jobs.flowexport.sequence.Sequence.found`."""
        sequence = self.domains[number].sequence
        rest = units - sequence.unsure if first != sequence.newest else 0
        sequence.found(first, units)
        if self.together:
            self._take_off(number, "unsure", rest)

    def forget(self, number: int) -> None:
        """Nothing is known of a domain any more."""
        self.domains.pop(number, None)
        self._owed.pop(number, None)
        if self.last == number:
            self.last = -1

    def _judge(self, first: int, own: Sequence, other: Sequence) -> bool:
        """Whether a number at a change of the domain goes on from the other domain's, and from that alone."""
        if first == other.expected and first not in (own.expected, 0):
            self.joined += 1
            if self.together:
                for of, units in self._owed.items():
                    self.domains[of].sequence.lost = max(self.domains[of].sequence.lost - units, 0)
                self._owed.clear()
            return True
        if first == own.expected and first != other.expected:
            self.apart += 1
        return False

    def _take_off(self, number: int, what: Literal["lost", "unsure"], units: int) -> None:
        """What was found was noted as missing in another domain."""
        for of, domain in self.domains.items():
            if of != number and units > 0:
                held = getattr(domain.sequence, what)
                setattr(domain.sequence, what, held - min(units, held))
                units -= min(units, held)


def _missing(sequence: Sequence) -> int:
    return sum(n for _, n in sequence.gaps)
