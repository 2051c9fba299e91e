"""A panel of detectors with one budget of false alarms: it says how rare among benign records the most alarmed of them finds a record.

Each member's score becomes the share of benign records, of days or runs that it was not fitted to, with at least that score. Such shares
can be compared, whatever the scores are. A member of half the weight must be twice as sure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from jobs.scoring.forest import Forest
from jobs.scoring.near import Near
from jobs.scoring.treefile import arrays as tree_arrays
from jobs.scoring.treefile import trees_of
from jobs.scoring.trees import Trees, distinct_rows

Scores = npt.NDArray[np.float64]
#: Ranks that are kept one by one, and how many further ones, ever further apart.
_EXACT, _FURTHER = 64, 192


class Panellist(Protocol):
    """Scores records; more is more suspicious. Any unit."""

    def score(self, x: npt.NDArray[np.float32]) -> Scores:
        """float64[n] of a finite float32[n, columns] matrix."""
        ...

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What a file holds of it."""
        ...


@dataclass(frozen=True)
class Exposed:
    """Trees that tell benign records from attacks of every known kind; attacks that they were not shown are like those that they were.

    "Outlier exposure": Hendrycks, Mazeika, Dietterich, "Deep Anomaly Detection with Outlier Exposure", 2019. Leaves hold the share of
    attacks.
    """

    trees: Trees

    def score(self, x: npt.NDArray[np.float32]) -> Scores:
        """Mean share of attacks, float64[n]."""
        return Forest(self.trees).predict_proba(x)[:, 0]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The trees."""
        return tree_arrays(self.trees)

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]], width: int) -> Exposed:
        """The inverse of :meth:`arrays`."""
        return cls(trees_of(arrays, width))


#: Kind of a member -> the member of a file's arrays.
_KINDS: dict[str, Callable[[Mapping[str, npt.NDArray[Any]], int], Panellist]] = {"near": Near.of, "exposed": Exposed.of}


@dataclass(frozen=True)
class Among:
    """Records that a member judges: those with ``low <= value < high`` in a column. Of the others it says nothing."""

    column: int
    low: float
    high: float

    def __call__(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """bool[n] of a float32[n, columns] matrix."""
        value = x[:, self.column]
        return np.asarray((value >= self.low) & (value < self.high))


@dataclass(frozen=True)
class Seat:
    """A member, the records that it judges, and its weight in (0, 1]."""

    member: Panellist
    gate: Among
    weight: float

    def score(self, x: npt.NDArray[np.float32]) -> Scores:
        """float64[n]; -inf for what it does not judge."""
        out = np.full(len(x), -np.inf)
        rows = np.flatnonzero(self.gate(x))
        if len(rows):
            out[rows] = self.member.score(x if len(rows) == len(x) else np.ascontiguousarray(x[rows]))
        return out


@dataclass(frozen=True)
class DetectorPanel:
    """Members, and what benign records score with each.

    Attributes
    ----------
    seats
        The members.
    width
        Number of columns of a matrix.
    ranks : int64[k]
        Places among benign records, the highest score is 1; ascending.
    tails : float64[members, k]
        The scores at these places.
    benign
        Number of benign records.
    """

    seats: tuple[Seat, ...]
    width: int
    ranks: npt.NDArray[np.int64]
    tails: npt.NDArray[np.float64]
    benign: int
    kind: str = "panel"

    @classmethod
    def calibrated(cls, seats: Sequence[Seat], width: int, benign: Sequence[Scores]) -> DetectorPanel:
        """Members with the scores of n benign records, float64[n] of each, from members like them that were not fitted to these."""
        n = len(benign[0])
        exact = np.arange(1, min(n, _EXACT) + 1)
        ranks = np.unique(np.concatenate([exact, np.geomspace(min(n, _EXACT), n, _FURTHER).astype(np.int64)]))
        tails = np.array([np.sort(scores)[::-1][ranks - 1] for scores in benign])
        return cls(tuple(seats), width, ranks, tails, n)

    def score(self, x: npt.NDArray[np.float32]) -> Scores:
        """float64[n] in [0, 1] of a finite float32[n, columns] matrix: 0 is usual, 1 beyond all benign records for the heaviest member."""
        if x.ndim != 2 or x.shape[1] != self.width or x.dtype != np.float32:
            raise ValueError(f"expected float32[n, {self.width}], found {x.dtype}{list(x.shape)}")
        first, which = distinct_rows(x)
        if len(first) < len(x):
            return self.of_members([seat.score(x[first]) for seat in self.seats])[which]
        return self.of_members([seat.score(x) for seat in self.seats])

    def of_members(self, scores: Sequence[Scores]) -> Scores:
        """The panel's score, float64[n], of those of its members, float64[n] each."""
        rarest = np.ones(len(scores[0]))
        known = np.concatenate([[0], self.ranks])
        for seat, tail, found in zip(self.seats, self.tails, scores, strict=True):
            as_high = len(tail) - np.searchsorted(tail[::-1], found, side="left")  # ranks whose score is at least that
            share = (1 + known[as_high]) / (1 + self.benign)
            rarest = np.minimum(rarest, np.where(np.isneginf(found), 1.0, share / seat.weight))
        return np.asarray(-np.log10(rarest) / np.log10(1 + self.benign))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What a file holds of it."""
        kinds = {Near: "near", Exposed: "exposed"}
        found: dict[str, npt.NDArray[Any]] = {
            "width": np.array(self.width),
            "benign": np.array(self.benign),
            "ranks": self.ranks,
            "tails": self.tails,
            "kinds": np.array([kinds[type(seat.member)] for seat in self.seats]),
            "gates": np.array([[seat.gate.column, seat.gate.low, seat.gate.high] for seat in self.seats], np.float64),
            "weights": np.array([seat.weight for seat in self.seats], np.float64),
        }
        for at, seat in enumerate(self.seats):
            found |= {f"{at}.{name}": array for name, array in seat.member.arrays().items()}
        return found

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> DetectorPanel:
        """The inverse of :meth:`arrays`.

        Raises
        ------
        ValueError, KeyError
            The arrays are not those of a panel.
        """
        width, benign = int(arrays["width"]), int(arrays["benign"])
        ranks, tails = np.asarray(arrays["ranks"]), np.asarray(arrays["tails"], np.float64)
        kinds, gates, weights = (np.asarray(arrays[name]) for name in ("kinds", "gates", "weights"))
        members = len(kinds)
        if not members or gates.shape != (members, 3) or weights.shape != (members,) or tails.shape != (members, len(ranks)):
            raise ValueError(f"novelty: gates, weights and tails are not those of {members} members")
        if not ((weights > 0) & (weights <= 1)).all():
            raise ValueError(f"novelty: weights {weights.tolist()} are not in (0, 1]")
        if ranks.dtype.kind not in "iu" or not len(ranks) or ranks[0] < 1 or ranks[-1] > benign or (np.diff(ranks) <= 0).any():
            raise ValueError(f"novelty: ranks are not rising from 1 to {benign}")
        if np.isnan(tails).any() or (tails[:, 1:] > tails[:, :-1]).any():
            raise ValueError("novelty: tails are not falling")
        if np.isnan(gates).any() or not ((gates[:, 0] >= 0) & (gates[:, 0] < width)).all():
            raise ValueError(f"novelty: gates are not by one of {width} columns")
        seats = []
        for at, (kind, (column, low, high), weight) in enumerate(zip(kinds.tolist(), gates.tolist(), weights.tolist(), strict=True)):
            own = {name.removeprefix(f"{at}."): array for name, array in arrays.items() if name.startswith(f"{at}.")}
            seats.append(Seat(_KINDS[kind](own, width), Among(int(column), low, high), weight))
        return cls(tuple(seats), width, ranks.astype(np.int64), tails, benign)
