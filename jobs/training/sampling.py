"""A sample of labelled records, bounded by label and spread over the days, the same whoever reads them and in whatever order.

Of each stratum (label and day) the records with the smallest hashes of their identities are kept (bottom-k sampling; Cohen and Kaplan,
PODC 2007). Samples of parts put together are the sample of the whole, so that Spark's tasks and one process come to the same.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.training.labelled import LabelledFlows, concat

#: Records of one label that a training gets at most, where nothing else is said.
MOST = 200_000
#: Rows of one message of a partial sample.
_CHUNK = 20_000
Ids = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class HashedRows:
    """n labelled records with a hash of the identity of each: uint64[n]."""

    flows: LabelledFlows
    ids: Ids

    def where(self, mask: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> HashedRows:
        """The rows that a mask or index selects."""
        return HashedRows(self.flows.where(mask), self.ids[mask])


@dataclass(frozen=True)
class Stratum:
    """Records of one label and day: how many there were, and how many were kept."""

    label: str
    day: str
    seen: int
    kept: int

    @property
    def weight(self) -> float:
        """How many records a kept one stands for."""
        return self.seen / self.kept if self.kept else 0.0


@dataclass(frozen=True)
class LabelRecords:
    """Records of one label: how many there were and were kept, from which day to which ("" where none is known), on how many days."""

    label: str
    seen: int
    kept: int
    first: str
    last: str
    days: int


def by_label(strata: Sequence[Stratum]) -> tuple[LabelRecords, ...]:
    """Strata put together, the most frequent label first."""
    found = []
    for label in sorted({s.label for s in strata}):
        some = [s for s in strata if s.label == label]
        days = sorted({s.day for s in some} - {""})
        seen, kept = sum(s.seen for s in some), sum(s.kept for s in some)
        found.append(LabelRecords(label, seen, kept, days[0] if days else "", days[-1] if days else "", len(days)))
    return tuple(sorted(found, key=lambda one: -one.seen))


@dataclass(frozen=True)
class Drawn:
    """A finished sample.

    Attributes
    ----------
    flows
        In the order of their hashes.
    strata
        By label and day.
    doubled
        Records that were there more than once, of those that were looked at to the end.
    contradicting
        Records left out as they were there with two labels.
    """

    flows: LabelledFlows
    strata: tuple[Stratum, ...]
    doubled: int
    contradicting: int

    @property
    def whole(self) -> bool:
        """Whether nothing was left out for being too much."""
        return sum(s.seen for s in self.strata) == len(self.flows) + self.doubled + self.contradicting


@dataclass
class Sample:
    """A sample in the making: at most about twice ``most`` records of each label are held.

    Parameters
    ----------
    most : int
        Records of a label at most.
    """

    most: int = MOST
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    doubled: int = 0
    _held: dict[str, list[HashedRows]] = field(default_factory=dict)

    def add(self, rows: HashedRows) -> None:
        """Take the rows of one batch into account."""
        labels, days = np.unique(rows.flows.y), rows.flows.group
        for label in labels.tolist():
            part = rows.where(rows.flows.y == label)
            names, counts = np.unique(days[rows.flows.y == label], return_counts=True)
            self.seen.update({(label, day): n for day, n in zip(names.tolist(), counts.tolist(), strict=True)})
            self._hold(label, part)

    def _hold(self, label: str, rows: HashedRows) -> None:
        held = self._held.setdefault(label, [])
        held.append(rows)
        if sum(len(r.ids) for r in held) > 2 * self.most:
            self._held[label] = [self._cut(label)]

    def _cut(self, label: str) -> HashedRows:
        """The rows of a label that can still be in the end's sample: each once, of each day the first by hash."""
        held = self._held[label]
        rows = HashedRows(concat([r.flows for r in held]), np.concatenate([r.ids for r in held]))
        _, first = np.unique(rows.ids, return_index=True)  # ordered by id
        self.doubled += len(rows.ids) - len(first)
        rows = rows.where(first)
        cap = even([n for (name, _), n in self.seen.items() if name == label], self.most)
        _, day = np.unique(rows.flows.group, return_inverse=True)
        order = np.argsort(day, kind="stable")
        begin = np.searchsorted(day[order], day[order])
        keep = np.zeros(len(day), bool)
        keep[order] = np.arange(len(day)) - begin < cap
        return rows.where(keep)

    def drawn(self) -> Drawn | None:
        """The sample; None of no rows."""
        parts = [self._cut(label) for label in sorted(self._held)]
        if not parts:
            return None
        rows = HashedRows(concat([p.flows for p in parts]), np.concatenate([p.ids for p in parts]))
        ids, counts = np.unique(rows.ids, return_counts=True)
        twice = np.isin(rows.ids, ids[counts > 1])
        rows = rows.where(~twice)
        rows = rows.where(np.argsort(rows.ids, kind="stable"))
        kept = Counter(zip(rows.flows.y.tolist(), rows.flows.group.tolist(), strict=True))
        strata = tuple(Stratum(*at, seen, kept[at]) for at, seen in sorted(self.seen.items()))
        return Drawn(rows.flows, strata, self.doubled, int(twice.sum()))

    def messages(self, more: Mapping[str, Any]) -> Iterable[bytes]:
        """What a task tells of its part: Arrow IPC streams, with the first of them the counts and ``more``, values of JSON."""
        parts = [self._cut(label) for label in sorted(self._held)]
        yield _packed(None, {**more, "seen": [[*at, n] for at, n in self.seen.items()], "doubled": self.doubled})
        for part in parts:
            for at in range(0, len(part.ids), _CHUNK):
                yield _packed(part.where(np.arange(at, min(at + _CHUNK, len(part.ids)))), {})

    def merge(self, message: bytes) -> Mapping[str, Any]:
        """Take a message of the sample of another part into account; returns what was said with it."""
        rows, about = _unpacked(message)
        self.seen.update({(label, day): n for label, day, n in about.get("seen", [])})
        self.doubled += about.get("doubled", 0)
        if rows is not None:
            self._hold(str(rows.flows.y[0]), rows)
        return about


def even(counts: Sequence[int], most: int) -> int:
    """The largest number of records of each day with which there are no more than ``most`` in all; at least 1.

    Examples
    --------
    >>> even([10, 1000, 1000], 500)
    245
    """
    left, days = most, sorted(counts)
    for i, n in enumerate(days):
        share = left // (len(days) - i)
        if n > share:
            return max(1, share)
        left -= n
    return max(1, most)


def mixed(hashes: Ids, seed: int) -> Ids:
    """The hashes in another order for every seed (the finaliser of SplitMix64; Steele et al., OOPSLA 2014)."""
    x = hashes + np.uint64((seed * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _packed(rows: HashedRows | None, about: Mapping[str, Any]) -> bytes:
    metadata: dict[str | bytes, str | bytes] = {"about": json.dumps(about)}
    if rows is None:
        table = pa.table({})
    else:
        flows = rows.flows
        metadata["columns"] = json.dumps(flows.columns)
        x = pa.FixedSizeListArray.from_arrays(pa.array(flows.x.reshape(-1)), len(flows.columns))
        names = {"y": flows.y.tolist(), "group": flows.group.tolist(), "host": flows.host.tolist()}
        table = pa.table({"x": x, **names, "closed": flows.closed, "age": flows.age, "ids": rows.ids})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.with_metadata(metadata)) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


def _unpacked(message: bytes) -> tuple[HashedRows | None, dict[str, Any]]:
    table = pa.ipc.open_stream(message).read_all()
    metadata = table.schema.metadata
    about = json.loads(metadata[b"about"])
    if b"columns" not in metadata:
        return None, about
    columns = tuple(json.loads(metadata[b"columns"]))
    x = table["x"].combine_chunks().flatten().to_numpy().reshape(-1, len(columns))
    y, group, host = (np.array(table[name].to_pylist(), dtype=str) for name in ("y", "group", "host"))
    flows = LabelledFlows(x, columns, y, group, table["closed"].to_numpy(), host, table["age"].to_numpy())
    return HashedRows(flows, table["ids"].to_numpy()), about
