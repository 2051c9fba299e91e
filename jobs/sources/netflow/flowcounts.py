"""What became of records on their way out: how many of each exporter, whose duplicates, and how long they took. No Spark."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.flowexport.datagrams import address_text
from jobs.flowexport.duplicates import Addresses, halves, hashed

#: Exporters that a bucket counts by name; what others sent is counted together.
MOST_EXPORTERS = 1000
#: What those are called.
OTHERS = "others"
#: Width of a class of latencies: a quantile is off by 5 % at most.
_STEP = math.log(1.1)
_LEAST_S = 1e-4


def count(told: dict[str, list[int]], columns: Mapping[str, NDArray[Any]], duplicate_of: Addresses) -> set[str]:
    """Add records, and those of them that are duplicates, to ``told``, by exporter; who was among them."""
    exporters = columns["exporter"]
    names, first, back = np.unique(hashed(*halves(exporters)), return_index=True, return_inverse=True)
    back = back.reshape(-1)
    records = np.bincount(back, minlength=len(names))
    duplicates = np.bincount(back, weights=duplicate_of.any(axis=1), minlength=len(names))
    found = set()
    for at, n, twice in zip(first, records, duplicates, strict=True):
        name = address_text(exporters[at].tobytes())
        if name not in told and len(told) >= MOST_EXPORTERS:
            name = OTHERS
        found.add(name)
        sums = told.setdefault(name, [0, 0])
        sums[0] += int(n)
        sums[1] += int(twice)
    return found


def said(query: str, bucket: int, version: int, told: Mapping[str, list[int]], names: Iterable[str]) -> bytes:
    """The message that tells the sums of some exporters: records and duplicates since the checkpoint began."""
    return _message(query, bucket, version, processed={name: told[name] for name in sorted(names)})


def _message(query: str, bucket: int, version: int, **told: Any) -> bytes:
    """Of no one exporter, as readers of accounts know it."""
    return json.dumps({"query": query, "exporter": "", "flow_bucket": bucket, "version": version, **told}).encode()


@dataclass
class FlowDelays:
    """Seconds from the receipt of datagrams to where their records leave, as counts by class.

    Attributes
    ----------
    classes
        Number of the class -> records; a class is 10 % wide.
    seconds
        Sum over all records.
    """

    classes: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0

    def note(self, received_us: NDArray[np.int64], now_s: float) -> None:
        """Add records that leave now."""
        took = np.maximum(now_s - received_us / 1e6, _LEAST_S)
        numbers, n = np.unique(np.floor(np.log(took / _LEAST_S) / _STEP).astype(np.int64), return_counts=True)
        self.classes.update(dict(zip(numbers.tolist(), n.tolist(), strict=True)))
        self.seconds += float(took.sum())

    def add(self, other: FlowDelays) -> None:
        """Add what another has counted."""
        self.classes.update(other.classes)
        self.seconds += other.seconds

    @property
    def records(self) -> int:
        """How many there are."""
        return self.classes.total()

    def quantile(self, share: float) -> float:
        """Seconds that so many of the records did not exceed: the middle of its class; NaN where there are none."""
        rank, seen = share * self.records, 0
        for number in sorted(self.classes):
            seen += self.classes[number]
            if seen >= rank:
                return _LEAST_S * math.exp((number + 0.5) * _STEP)
        return math.nan

    def message(self, query: str, bucket: int, version: int) -> bytes:
        """As a message."""
        return _message(query, bucket, version, delays={"classes": dict(self.classes), "seconds": round(self.seconds, 6)})

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> FlowDelays:
        """What a message tells.

        Raises
        ------
        KeyError, TypeError, ValueError
            It tells something else.
        """
        return cls(Counter({int(number): int(n) for number, n in told["classes"].items()}), float(told["seconds"]))
