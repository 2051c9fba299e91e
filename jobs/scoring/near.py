"""How far a record is from the nearest of some benign records that stand for all.

Values are compared by where they lie among benign ones, not as they are: bytes and microseconds have no common scale. A value becomes
the normal quantile of its place, so that a step in the tails counts for more than one in the middle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

#: Quantiles of a column, and benign records that stand for all: more find no more on CIC-IDS2017, and cost time for every flow.
EDGES, CENTRES = 200, 256
_STEPS = 4096  # of the table of normal quantiles
_DIGITS = 3  # of a distance: those behind depend on how many records are multiplied at once
_TAIL = 1e-7  # share that an end of the table stands for: 5.2 standard deviations


@numba.njit(cache=True, nogil=True)
def _placed(x, columns, edges, normal, out):  # type: ignore[no-untyped-def]
    """Normal quantiles of the places of ``x[:, columns]`` among ``edges`` (ascending rows) -> ``out``; of equal edges the middle."""
    k = edges.shape[1]
    for j in range(columns.shape[0]):
        row = edges[j]
        for i in range(x.shape[0]):
            value = x[i, columns[j]]
            if value <= row[0]:  # mostly that there is nothing of it: far from any that there is
                place = 0.0
            elif value >= row[k - 1]:
                place = 1.0
            else:
                below, above = 0, k - 1  # row[below] < value <= row[above]
                while above - below > 1:
                    middle = (below + above) // 2
                    if row[middle] < value:
                        below = middle
                    else:
                        above = middle
                if row[above] == value:
                    last = above
                    while row[last + 1] == value:
                        last += 1
                    place = (above + last) / (2.0 * (k - 1))
                else:
                    place = (below + (value - row[below]) / (row[above] - row[below])) / (k - 1)
            out[i, j] = normal[int(place * _STEPS + 0.5)]


@dataclass(frozen=True)
class Near:
    """Benign records that stand for all, and what is a long way.

    Attributes
    ----------
    columns : int64[c]
        Columns of the matrix that are compared.
    edges : float32[c, k]
        Quantiles of benign records, ascending.
    centres : float32[m, c]
        Benign records, in normal quantiles.
    """

    columns: npt.NDArray[np.int64]
    edges: npt.NDArray[np.float32]
    centres: npt.NDArray[np.float32]

    @classmethod
    def fit(cls, benign: npt.NDArray[np.float32], columns: npt.NDArray[np.int64]) -> Near:
        """Of float32[n, all columns] benign records, n > 0; deterministic.

        The centres are chosen one by one, each the record furthest from those before (Gonzalez, "Clustering to minimize the maximum
        intercluster distance", 1985), so that rare benign traffic is stood for too.
        """
        at = np.linspace(0, 1, EDGES)
        edges = np.quantile(benign[:, columns], at, axis=0, method="inverted_cdf").T.astype(np.float32)
        empty = cls(columns, np.ascontiguousarray(edges), np.zeros((0, len(columns)), np.float32))
        z = empty.placed(benign)
        return cls(columns, empty.edges, z[_spread(z)])

    def placed(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Normal quantiles, float32[n, c], of a finite float32[n, all columns] matrix."""
        out = np.empty((len(x), len(self.columns)), np.float32)
        _placed(x, self.columns, self.edges, _normal(), out)
        return out

    def score(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Distance to the nearest centre, float64[n], of a finite float32[n, all columns] matrix."""
        z = self.placed(x)
        half = 0.5 * (self.centres**2).sum(axis=1) - z @ self.centres.T  # |z - c|^2 = |z|^2 + 2 half
        square = (z**2).sum(axis=1) + 2.0 * half.min(axis=1)
        return np.round(np.sqrt(np.maximum(square, 0.0), dtype=np.float64), _DIGITS)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What a file holds of it."""
        return {"columns": self.columns, "edges": self.edges, "centres": self.centres}

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]], width: int) -> Near:
        """The inverse of :meth:`arrays`, for a matrix of ``width`` columns.

        Raises
        ------
        ValueError
            The arrays do not fit together, or hold what is no number.
        """
        columns, edges, centres = (np.ascontiguousarray(arrays[name]) for name in ("columns", "edges", "centres"))
        if columns.ndim != 1 or columns.dtype.kind not in "iu" or not len(columns) or columns.min() < 0 or columns.max() >= width:
            raise ValueError(f"novelty: columns are not some of {width}")
        fit = edges.ndim == centres.ndim == 2 and len(edges) == len(columns) == centres.shape[1]
        if not fit or edges.shape[1] < 2 or not len(centres) or not (np.isfinite(edges).all() and np.isfinite(centres).all()):
            raise ValueError(
                f"novelty: edges {list(edges.shape)} and centres {list(centres.shape)} are not those of {len(columns)} columns"
            )
        if (np.diff(edges, axis=1) < 0).any():
            raise ValueError("novelty: edges are not ascending")
        return cls(columns.astype(np.int64), edges.astype(np.float32), centres.astype(np.float32))


@cache
def _normal() -> npt.NDArray[np.float32]:
    """Normal quantiles of the shares 0, 1/4096 .. 1."""
    shares = np.clip(np.linspace(0, 1, _STEPS + 1), _TAIL, 1 - _TAIL)
    return np.array([NormalDist().inv_cdf(share) for share in shares.tolist()], np.float32)


def _spread(z: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Rows that lie far from each other, the most central first; fewer where all others equal one of them."""
    chosen = [int(((z - z.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    far = ((z - z[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < CENTRES and far.max() > 0:
        chosen.append(int(far.argmax()))
        far = np.minimum(far, ((z - z[chosen[-1]]) ** 2).sum(axis=1))
    return np.array(chosen)
