"""Rows of senders as flow records: values checked, what follows computed, and what the models read asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np
import pyarrow as pa

from infra.times import micros
from jobs.moving.convert import AHEAD, EARLIEST_US, FUTURE, OLD
from jobs.moving.times import TimeReading
from jobs.sources.features import cells, derive
from jobs.sources.features.cells import Addresses, KnownValues, Problems
from jobs.sources.features.names import shown
from jobs.sources.features.rows import GivenRows
from schemas.flows import RECORD_SCHEMA

#: A flow that lasts longer is CICFlowMeter's overflow: kept as a value, it makes no time.
_YEAR_US = 365 * 86_400_000_000
#: Protocols of which a flow without ports is no flow: TCP, UDP, DCCP, SCTP, UDP-Lite.
_WITH_PORTS = (6, 17, 33, 132, 136)
_ADDRESSES = ("src_ip", "dst_ip")
_PORTS = ("src_port", "dst_port")
#: What every flow needs, whatever the models read.
_IDENTITY = (*_ADDRESSES, *_PORTS, "protocol", "start_time", "flow_duration")
NUMBERS = tuple(f for f in RECORD_SCHEMA if (pa.types.is_integer(f.type) or pa.types.is_floating(f.type)) and f.name != "ip_version")
TEXTS = tuple(f.name for f in RECORD_SCHEMA if pa.types.is_string(f.type) and f.name not in _ADDRESSES)
_NAMED = 8
#: What one column is read as.
R = TypeVar("R")


@dataclass(frozen=True)
class Reading:
    """How rows are read.

    Attributes
    ----------
    clock
        Zone of times, and order of day and month.
    needed
        Features that must be known: those that the models read.
    reader
        Who reads them, as a refusal names it.
    community_id_seed
        Of the community ids.
    """

    clock: TimeReading
    needed: Collection[str] = ()
    reader: str = "the champion"
    community_id_seed: int = 0


@dataclass
class Checked:
    """Columns of n rows, read.

    Attributes
    ----------
    numbers
        Numbers, times (us) among them, by record column; ``end_time`` and ``flow_duration`` follow from each other.
    texts
        Texts; null where nothing is said.
    src, dst
        Addresses.
    closed
        Whether a flow has ended.
    refused
        Row -> why it is no flow (``code: what``).
    """

    numbers: dict[str, KnownValues]
    texts: dict[str, pa.Array]
    src: Addresses
    dst: Addresses
    closed: KnownValues
    refused: dict[int, str] = field(default_factory=dict)


def check(rows: GivenRows, reading: Reading) -> Checked:
    """Read the columns of n rows; each row by itself: what is wrong with one concerns no other."""
    n = len(rows.source)
    refused = dict(rows.wrong)

    def read(name: str, how: Callable[[pa.Array, Problems], R], kind: pa.DataType) -> R:
        problems: Problems = {}
        found = how(rows.columns[name] if name in rows.columns else pa.nulls(n, kind), problems)
        for row, why in problems.items():
            refused.setdefault(row, f"value: {shown(name)}: {why}")
        return found

    text = pa.string()
    numbers = {f.name: read(f.name, lambda a, p, f=f: cells.numbers(a, f.name, f.type, p), text) for f in NUMBERS}  # type: ignore[misc]
    for name in ("start_time", "end_time"):
        numbers[name] = read(name, lambda a, p: cells.moments(a, reading.clock, p), text)
    checked = Checked(
        numbers,
        {name: read(name, lambda a, p, name=name: cells.words(a, name, p), text) for name in TEXTS},  # type: ignore[misc]
        read("src_ip", cells.addresses, text),
        read("dst_ip", cells.addresses, text),
        read("closed", cells.truths, pa.bool_()),
        refused,
    )
    _complete(checked, n)
    for row, why in (*_impossible(checked), *_missing(checked, reading)):
        refused.setdefault(row, why)
    return checked


def _complete(checked: Checked, n: int) -> None:
    """What follows: part, ports of what has none, features, the end."""
    numbers = checked.numbers
    numbers["part"] = KnownValues(numbers["part"].values, np.ones(n, bool))
    protocol = numbers["protocol"]
    portless = protocol.known & ~np.isin(protocol.values, _WITH_PORTS)
    for name in _PORTS:
        numbers[name] = KnownValues(numbers[name].values, numbers[name].known | portless)
    derive.derive(numbers)
    start, end, duration = numbers["start_time"], numbers["end_time"], numbers["flow_duration"]
    sane = np.where((duration.values > 0) & (duration.values < _YEAR_US), duration.values, 0)
    known = end.known | (start.known & duration.known)
    numbers["end_time"] = KnownValues(np.where(end.known, end.values, start.values + sane), known)


def _impossible(checked: Checked) -> Iterator[tuple[int, str]]:
    start, end = checked.numbers["start_time"], checked.numbers["end_time"]
    latest = micros(datetime.now(UTC) + AHEAD)
    for why, mask in (
        (f"{shown('start_time')}: {OLD}", start.known & (start.values < EARLIEST_US)),
        (f"{shown('start_time')}: {FUTURE}", start.known & (start.values > latest)),
        ("end_time: before the start", start.known & end.known & (end.values < start.values)),
        ("end_time: in the future", end.known & (end.values > latest)),
        (
            f"{shown('dst_ip')}: of another version of IP than the source",
            checked.src.known & checked.dst.known & (checked.src.version != checked.dst.version),
        ),
    ):
        yield from ((row, f"value: {why}") for row in np.flatnonzero(mask).tolist())


def _missing(checked: Checked, reading: Reading) -> Iterator[tuple[int, str]]:
    """Rows that lack what they need, with the names of all of it."""
    known = {name: column.known for name, column in checked.numbers.items()}
    known |= {"src_ip": checked.src.known, "dst_ip": checked.dst.known}
    wanted = tuple(dict.fromkeys((*_IDENTITY, *reading.needed)))
    lacking = ~np.stack([known[name] for name in wanted], axis=1)
    said: dict[bytes, str] = {}
    for row in np.flatnonzero(lacking.any(axis=1)).tolist():
        which = lacking[row]
        if which.tobytes() not in said:
            names = [shown(name) for name, lacks in zip(wanted, which, strict=True) if lacks]
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            by = f", which {reading.reader} reads" if any(which[len(_IDENTITY) :]) else ""
            said[which.tobytes()] = f"missing: {', '.join(names[:_NAMED])}{more}{by}"
        yield row, said[which.tobytes()]


def reading_of(columns: Sequence[str], version: str, clock: TimeReading, community_id_seed: int = 0) -> Reading:
    """How rows are read for a model of these columns."""
    return Reading(clock, tuple(columns), f"the champion (version {version})", community_id_seed)
