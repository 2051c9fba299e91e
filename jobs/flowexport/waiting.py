"""Data that came before their template: kept until it comes, within bounds (RFC 3954, 9; RFC 7011, 8)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from jobs.flowexport.rules import DecodeRules

#: What a set costs beside its bytes.
_OVERHEAD = 100


class Waiting(NamedTuple):
    """A set whose template is not known, and what must be known of its datagram."""

    template: int
    body: bytes
    received_us: int
    exported_us: int
    uptime_ms: int
    sequence: int
    base: int  # byte of the datagram at which the body began
    port: int
    kept_of: int


@dataclass
class WaitingRoom:
    """Sets of one exporter and domain that wait, by template, in the order of their coming."""

    sets: dict[int, list[Waiting]] = field(default_factory=dict)
    size: int = 0
    oldest_us: int = field(default=0, compare=False)  # none is older; there may be none so old

    def add(self, one: Waiting, rules: DecodeRules) -> bool:
        """Keep a set; False: there is no room."""
        size = len(one.body) + _OVERHEAD
        if self.size + size > rules.waiting_bytes:
            return False
        if not self.sets:
            self.oldest_us = one.received_us
        self.sets.setdefault(one.template, []).append(one)
        self.size += size
        return True

    def take(self, template: int) -> list[Waiting]:
        """Those that wait for a template; they wait no longer."""
        due = self.sets.pop(template, [])
        self.size -= sum(len(w.body) + _OVERHEAD for w in due)
        return due

    def expire(self, now_us: int, rules: DecodeRules) -> int:
        """Give up those that have waited too long; how many."""
        if not self.sets or now_us - self.oldest_us <= rules.waiting_us:
            return 0
        every = [w for some in self.sets.values() for w in some]
        kept = [w for w in every if now_us - w.received_us <= rules.waiting_us]
        self.sets, self.size = {}, 0
        for w in kept:
            self.add(w, rules)
        self.oldest_us = min((w.received_us for w in kept), default=0)
        return len(every) - len(kept)
