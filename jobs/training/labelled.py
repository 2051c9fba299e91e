"""Labelled flows: what a model is fitted to and judged by, wherever they came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from schemas.labels import BENIGN


@dataclass(frozen=True)
class LabelledFlows:
    """n flow records as a matrix with their labels.

    Attributes
    ----------
    x : float32[n, k]
        Finite.
    columns
        The k feature names.
    y : str[n]
        Label names; ``BENIGN`` for ordinary traffic.
    group : str[n]
        What must not be split between training and test: generator seed, day.
    closed : bool[n]
        False for interim snapshots.
    host : str[n]
        Source address, "" where it is not known. Of none given: all "".
    age : float32[n]
        Seconds from the first to the last packet that the record has seen. Of none given: all 0.
    """

    x: npt.NDArray[np.float32]
    columns: tuple[str, ...]
    y: npt.NDArray[np.str_]
    group: npt.NDArray[np.str_]
    closed: npt.NDArray[np.bool_]
    host: npt.NDArray[np.str_] = None  # type: ignore[assignment]  # filled below
    age: npt.NDArray[np.float32] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.host is None:
            object.__setattr__(self, "host", np.full(len(self.y), ""))
        if self.age is None:
            object.__setattr__(self, "age", np.zeros(len(self.y), np.float32))

    def __len__(self) -> int:
        return len(self.y)

    @property
    def attack(self) -> npt.NDArray[np.bool_]:
        """bool[n], True where the label is not ``BENIGN``."""
        return np.asarray(self.y != BENIGN)

    def where(self, mask: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> LabelledFlows:
        """The rows that a mask or index selects."""
        return LabelledFlows(self.x[mask], self.columns, self.y[mask], self.group[mask], self.closed[mask], self.host[mask], self.age[mask])

    def select(self, columns: Sequence[str]) -> LabelledFlows:
        """The same rows with these columns, in this order."""
        return replace(self, x=self.matrix(columns), columns=tuple(columns))

    def matrix(self, columns: Sequence[str]) -> npt.NDArray[np.float32]:
        """float32[n, columns] of these columns, in this order."""
        return np.ascontiguousarray(self.x[:, [self.columns.index(c) for c in columns]])

    def capped(self, per_label: int, seed: int) -> LabelledFlows:
        """At most ``per_label`` random rows of every label, in their order; deterministic."""
        rng = np.random.default_rng(seed)
        keep = []
        for label in np.unique(self.y):
            rows = np.flatnonzero(self.y == label)
            keep.append(rows if len(rows) <= per_label else rng.choice(rows, per_label, replace=False))
        return self.where(np.sort(np.concatenate(keep))) if keep else self


def concat(parts: Sequence[LabelledFlows]) -> LabelledFlows:
    """Rows of all parts, which have the same columns."""
    return LabelledFlows(
        np.concatenate([p.x for p in parts]),
        parts[0].columns,
        np.concatenate([p.y for p in parts]),
        np.concatenate([p.group for p in parts]),
        np.concatenate([p.closed for p in parts]),
        np.concatenate([p.host for p in parts]),
        np.concatenate([p.age for p in parts]),
    )
