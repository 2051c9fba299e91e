"""What a person may ask of a demo, whatever its source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DemoOptions:
    """Options of ``flowlake demo`` for a source that brings a demo of its own (:class:`infra.sources.Source`).

    Attributes
    ----------
    pcap
        A capture file instead of generated traffic.
    seconds, seed
        Of generated traffic.
    keep
        Leave the servers running.
    page
        Write the page, too.
    """

    pcap: Path | None = None
    seconds: float | None = None
    seed: int | None = None
    keep: bool = False
    page: bool = True
