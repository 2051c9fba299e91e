"""Settings of windows per source."""

from __future__ import annotations

from pydantic import Field

from infra.sections import Section
from jobs.windows.bounds import Bounds


class WindowsSettings(Section):
    """Windows of 5, 30 and 180 s per source."""

    enabled: bool = Field(False, description="make windows of what is metered; each size needs a model: flowlake windows train makes them")
    buckets: int = Field(
        1, ge=1, le=256, description="hash buckets of the sources that have open windows; a CPU each, where there are many sources"
    )
    partial: bool = Field(True, description="make larger windows of sources that are silent in some 5 s slots, too, and mark them")
    max_sources: int = Field(
        Bounds.sources,
        ge=16,
        le=1_000_000,
        description="sources of one slot over all buckets; beyond, those that say least are summed up by prefix",
    )
    max_known: int = Field(
        Bounds.known, ge=1000, description="destinations and pairs of the last hour that are remembered of a domain, over all buckets"
    )
    max_messages: int = Field(256, ge=1, description="messages of the meter a batch at most: what a query that is behind holds at once")
    ipv6_prefix: int = Field(
        128, ge=48, le=128, description="bits of an IPv6 address that make a source; 64: the temporary addresses of a network are one"
    )
    trigger_ms: int = Field(1000, ge=0, description="milliseconds between two batches of the windows query")

    def bounds(self, buckets: int = 1) -> Bounds:
        """Of each of so many buckets; of one, what all have together."""
        return Bounds(max(self.max_sources // buckets, 2), max(self.max_known // buckets, 1))
