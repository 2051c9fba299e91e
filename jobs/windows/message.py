"""What a meter's bucket says of one batch, as a message of ``window-slices``; and what of it concerns a bucket of windows.

A message holds summaries of parts of 5 s slots, and the clock of each domain. Every bucket of a meter sends one with every batch, however
little it has to say: below the least of their clocks nothing more will come. There is one partition, so what a batch says lies before what
the next one says; a batch that is done again says the same again, under the same number.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from jobs.metering.bucket import Emission
from jobs.windows.blob import BlobError, pack, unpack
from jobs.windows.slots import SECONDS, summed
from jobs.windows.summary import Summaries

#: Of a message, in items of some 40 bytes: what a row counts, and what a message may hold (2 to 3 MB, where 10 are the broker's bound).
_ROW_WEIGHT, _MOST_WEIGHT = 4, 60_000


@dataclass(frozen=True)
class BucketPart:
    """What one bucket of a meter says of one batch.

    Attributes
    ----------
    query
        Id of the meter's checkpoint.
    bucket, buckets
        Of the meter.
    version
        Number of the batch, as the bucket counts them.
    clocks
        By domain, us: every packet before it has been metered.
    ended
        Domains whose input has ended.
    summaries
        Of parts of 5 s slots.
    number
        Of the message among those of the batch: a large one is told in several. Clocks and ends are in the last.
    offset
        Place in the topic; -1: it has none yet.
    """

    query: str
    bucket: int
    buckets: int
    version: int
    clocks: dict[str, int]
    ended: tuple[str, ...] = ()
    summaries: Summaries = field(default_factory=Summaries.none)
    number: int = 0
    offset: int = -1

    @classmethod
    def of(cls, emission: Emission, query: str, bucket: int, buckets: int, version: int, ipv6_prefix: int = 128) -> list[BucketPart]:
        """What a meter gave, its slices of :data:`jobs.windows.slots.SECONDS`; ``ipv6_prefix``: bits that make a source."""
        *others, last = _portions(summed(emission.slices, emission.domains, ipv6_prefix))
        made = [cls(query, bucket, buckets, version, {}, (), some, number) for number, some in enumerate(others)]
        return [*made, cls(query, bucket, buckets, version, emission.clocks, emission.ended, last, len(made))]

    def encode(self) -> bytes:
        """As bytes."""
        said = {name: getattr(self, name) for name in ("query", "bucket", "buckets", "version", "clocks", "ended", "number", "offset")}
        return pack(self.summaries, seconds=SECONDS, **said)

    @staticmethod
    def decode(value: bytes) -> BucketPart:
        """Inverse of :meth:`encode`.

        Raises
        ------
        BlobError
            Damaged, of another version, or of slots of another width.
        """
        about, summaries = unpack(value)
        try:
            if about["seconds"] != SECONDS:
                raise BlobError(f"slots of {about['seconds']} s, this program makes windows of slots of {SECONDS} s")
            clocks = {str(name): int(clock) for name, clock in about["clocks"].items()}
            bucket, buckets, version, number, offset = (int(about[name]) for name in ("bucket", "buckets", "version", "number", "offset"))
            ended = tuple(map(str, about["ended"]))
            return BucketPart(str(about["query"]), bucket, buckets, version, clocks, ended, summaries, number, offset)
        except (KeyError, TypeError, AttributeError, ValueError) as e:
            if isinstance(e, BlobError):
                raise
            raise BlobError(f"damaged summaries of windows: {type(e).__name__}: {e}") from e

    def share(self, bucket: int, buckets: int, offset: int) -> BucketPart:
        """The same for a bucket of windows: its sources, all clocks."""
        some = self.summaries if buckets == 1 else self.summaries.where(self.summaries.rows["tag"] % np.uint64(buckets) == bucket)
        return BucketPart(self.query, self.bucket, self.buckets, self.version, self.clocks, self.ended, some, self.number, offset)


def _portions(summaries: Summaries) -> list[Summaries]:
    """Summaries in parts of so many bytes that each is a message, whatever floods there are; one at least."""
    weight = np.cumsum(_ROW_WEIGHT + np.bincount(summaries.items["row"], minlength=len(summaries)))
    portion = weight // _MOST_WEIGHT
    return [summaries.where(portion == k) for k in np.unique(portion)] or [summaries]
