"""What windows may take of memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Bounds:
    """What a cascade keeps at most.

    Attributes
    ----------
    sources
        Of each slot and window; beyond, they are summed up by prefix (:mod:`jobs.windows.fold`).
    known
        Destinations and pairs of the last hour, of one domain (:mod:`jobs.windows.memory`).
    """

    sources: int = 100_000
    known: int = 2_000_000
