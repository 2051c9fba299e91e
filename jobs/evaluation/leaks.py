"""Rows that a model is judged by though it was trained on them, and rows that have two labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from infra.errors import ModelError
from jobs.training.labelled import LabelledFlows

#: What is done with test rows that the training has: refuse the split beyond ``MOST``, take them out of the test, or keep them.
Treatment = Literal["refuse", "drop", "keep"]
#: Share of a split's test rows that may also be in its training.
MOST = 0.01


@dataclass(frozen=True)
class Leak:
    """Rows on both sides of a split: of ``rows`` test rows, ``shared`` are also in the training, ``dropped`` were taken out for it.

    ``labels`` counts the shared ones by label.
    """

    rows: int
    shared: int
    dropped: int
    labels: tuple[tuple[str, int], ...]

    @property
    def share(self) -> float:
        """Share of the test rows that the training has."""
        return self.shared / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class Contradiction:
    """Equal rows with different labels: how many ``rows`` in all, of how many ``distinct`` feature vectors."""

    labels: tuple[str, ...]
    distinct: int
    rows: int


def identities(flows: LabelledFlows) -> npt.NDArray[np.int64]:
    """A number for every row, int64[n]: the same where all features are equal."""
    if not flows.x.size:
        return np.zeros(len(flows), dtype=np.int64)
    x = np.ascontiguousarray(flows.x + np.float32(0.0))  # -0.0 becomes 0.0: equal numbers have equal bytes
    kind = pa.binary(x.dtype.itemsize * x.shape[1])
    rows = pa.FixedSizeBinaryArray.from_buffers(kind, len(x), [None, pa.py_buffer(x)])
    return np.asarray(rows.dictionary_encode().indices.to_numpy(), dtype=np.int64)  # by hash, not by sorting


def find(
    identity: npt.NDArray[np.int64], y: npt.NDArray[np.str_], train: npt.NDArray[np.int64], test: npt.NDArray[np.int64]
) -> tuple[Leak, npt.NDArray[np.bool_]]:
    """Test rows that the training has, whatever their labels: the account, and bool[test]. ``train`` and ``test`` are row numbers."""
    both = np.isin(identity[test], identity[train])
    labels = Counter(y[test[both]].tolist()).most_common()
    return Leak(len(test), int(both.sum()), 0, tuple(labels)), both


def treat(name: str, leak: Leak, treatment: Treatment) -> bool:
    """Whether the shared rows are to be taken out of the test.

    Raises
    ------
    ModelError
        ``treatment`` is ``refuse`` and more than ``MOST`` of the test rows are in the training.
    """
    if treatment == "refuse" and leak.share > MOST:
        worst = ", ".join(f"{label} {count:,}" for label, count in leak.labels[:3])
        raise ModelError(
            f"split {name}: {leak.shared:,} of {leak.rows:,} test rows ({leak.share:.1%}) are also in the training ({worst}); "
            f"{MOST:.0%} are allowed",
            "take duplicates out of the records, or judge by the others alone: --duplicates drop",
        )
    return treatment == "drop" and leak.shared > 0


def contradictions(identity: npt.NDArray[np.int64], y: npt.NDArray[np.str_]) -> tuple[Contradiction, ...]:
    """Equal rows with different labels, the most frequent first: no model can be right on all of them."""
    labels, code = np.unique(y, return_inverse=True)
    pairs = np.unique(np.column_stack([identity, code]), axis=0)
    several = np.flatnonzero(np.bincount(pairs[:, 0]) > 1)
    if not len(several):
        return ()
    pairs = pairs[np.isin(pairs[:, 0], several)]
    size = np.bincount(identity)
    distinct: Counter[tuple[str, ...]] = Counter()
    rows: Counter[tuple[str, ...]] = Counter()
    for row, codes in zip(several.tolist(), np.split(pairs[:, 1], np.flatnonzero(np.diff(pairs[:, 0])) + 1), strict=True):
        key = tuple(str(v) for v in labels[codes])
        distinct[key] += 1
        rows[key] += int(size[row])
    return tuple(Contradiction(key, distinct[key], count) for key, count in rows.most_common())


def told(contradictory: Sequence[Contradiction]) -> list[str]:
    """One line on rows with two labels, none where there are none."""
    if not contradictory:
        return []
    first = contradictory[0]
    total = sum(c.rows for c in contradictory)
    return [f"{total:,} rows are equal to rows of another label, most of them {' / '.join(first.labels)} ({first.rows:,})"]
