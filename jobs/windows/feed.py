"""A bucket of windows fed by the buckets of a meter: whose batch was taken already, and how far all of them have come."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from jobs.windows.cascade import END, Made, WindowCascade
from jobs.windows.message import BucketPart
from jobs.windows.summary import Summaries


@dataclass
class Feed:
    """What a bucket of windows knows.

    Attributes
    ----------
    cascade
        Its windows.
    query, buckets
        The meter that feeds it, by its checkpoint.
    versions
        By bucket of the meter: its latest batch that was taken, and the message of it.
    clocks
        By domain and bucket of the meter, us; :data:`jobs.windows.cascade.END`: ended.
    """

    cascade: WindowCascade
    query: str = ""
    buckets: int = 0
    versions: dict[int, tuple[int, int]] = field(default_factory=dict)
    clocks: dict[str, dict[int, int]] = field(default_factory=dict)

    def take(self, parts: Iterable[BucketPart]) -> list[Made]:
        """Take what a meter's buckets say, in the order of the topic; the windows that are over then.

        A batch that was taken before is left out. A domain's time is the least of the clocks of all buckets. A meter with another
        checkpoint reads its input from the beginning: what is open of the former one is given up, and counted.
        """
        made: list[Made] = []
        for part in sorted(parts, key=lambda part: part.offset):
            if (part.query, part.buckets) != (self.query, self.buckets):
                self._follow(part)
            if (part.version, part.number) <= self.versions.get(part.bucket, (-1, 0)):
                continue
            self.versions[part.bucket] = (part.version, part.number)
            self.cascade.add(part.summaries)
            for domain, clock in {**part.clocks, **dict.fromkeys(part.ended, END)}.items():
                self.clocks.setdefault(domain, {})[part.bucket] = clock
            if ended := [domain for domain in part.ended if self._clock(domain) == END]:
                made += self._made(ended)
        return made + self._made([])

    def _made(self, ended: list[str]) -> list[Made]:
        for domain in ended:
            del self.clocks[domain]
        clocks = {domain: self._clock(domain) for domain in self.clocks}
        return self.cascade.take(Summaries.none(), clocks, ended)

    def _clock(self, domain: str) -> int:
        """Below it every bucket has metered every packet; END: all have ended."""
        told = self.clocks[domain]
        least = min(told.values())
        return least if len(told) == self.buckets else 0

    def _follow(self, part: BucketPart) -> None:
        """Begin anew with another meter."""
        if self.query:
            self.cascade.give_up()
        self.query, self.buckets = part.query, part.buckets
        self.versions, self.clocks = {}, {}
