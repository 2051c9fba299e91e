"""Records of many datagrams, gathered by their layout, to be read all at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from jobs.flowexport.faults import Rejected
from jobs.flowexport.layouts import Layout
from jobs.flowexport.optiondata import OptionData
from jobs.flowexport.samples import SampleRows
from jobs.flowexport.session import ExportSession


class RecordPart(NamedTuple):
    """Records that came together: one data set, or one sFlow datagram; what holds of all of them."""

    datagram: int  # number in the batch; -1: of an earlier one
    session: int  # number in the chunk
    options: int  # number in the chunk
    template: int
    base: int  # byte of the datagram at which the first record begins
    sequence: int
    port: int
    received_us: int
    exported_us: int
    uptime_ms: int  # -1: the header has none
    rate: float  # of the header; 0: it has none
    kept_of: int  # datagrams that it stands for


PART_DTYPE = np.dtype(
    [
        ("datagram", "i4"),
        ("session", "i4"),
        ("options", "i4"),
        ("template", "u2"),
        ("base", "u4"),
        ("sequence", "u4"),
        ("port", "u2"),
        ("received_us", "i8"),
        ("exported_us", "i8"),
        ("uptime_ms", "i8"),
        ("rate", "f8"),
        ("kept_of", "u4"),
    ]
)


@dataclass
class LayoutGroup:
    """Records of one layout: their fixed bytes in ``pieces``; ``parts`` and ``counts`` say which belong together.

    Of layouts with variable fields, ``values`` has those of each record, and ``starts`` where each begins.
    """

    layout: Layout
    pieces: list[bytes] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    values: list[list[bytes]] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)


@dataclass
class ExportChunk:
    """What was gathered: ``rows`` records so far, and the datagrams that were not decoded wholly."""

    parts: list[RecordPart] = field(default_factory=list)
    sessions: list[ExportSession] = field(default_factory=list)
    options: list[OptionData] = field(default_factory=list)
    groups: dict[int, LayoutGroup] = field(default_factory=dict)
    samples: SampleRows = field(default_factory=SampleRows)
    rejected: list[Rejected] = field(default_factory=list)
    rows: int = 0
    _session_numbers: dict[int, int] = field(default_factory=dict)
    _option_numbers: dict[int, int] = field(default_factory=dict)

    def session_number(self, session: ExportSession) -> int:
        """The number of a session in this chunk."""
        found = self._session_numbers.setdefault(id(session), len(self.sessions))
        if found == len(self.sessions):
            self.sessions.append(session)
        return found

    def option_number(self, options: OptionData) -> int:
        """The number, in this chunk, of what an exporter has said of itself so far."""
        found = self._option_numbers.setdefault(id(options), len(self.options))
        if found == len(self.options):
            self.options.append(options)
        return found

    def group(self, layout: Layout) -> LayoutGroup:
        """The group of a layout; of two that are equal but not the same, each has one of its own."""
        found = self.groups.get(id(layout))
        if found is None:
            found = self.groups[id(layout)] = LayoutGroup(layout)
        return found

    def add(self, layout: Layout, part: RecordPart, records: RecordBytes) -> None:
        """Take the records of one data set."""
        group = self.group(layout)
        group.pieces.extend(records.pieces)
        group.parts.append(len(self.parts))
        group.counts.append(records.n)
        group.values.extend(records.values)
        group.starts.extend(records.starts)
        self.parts.append(part)
        self.rows += records.n


class RecordBytes(NamedTuple):
    """Records of one data set, not read yet: see :class:`LayoutGroup`."""

    n: int
    pieces: list[bytes]
    values: list[list[bytes]]
    starts: list[int]
