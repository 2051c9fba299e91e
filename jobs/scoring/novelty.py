"""How unlike the benign records of a training a record is: an answer to attacks that no classifier was shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from jobs.scoring.panel import DetectorPanel


class Detector(Protocol):
    """Scores records by how unusual they are."""

    @property
    def kind(self) -> str:
        """Name in :data:`DETECTORS`."""
        ...

    def score(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """float64[n] in [0, 1] of a finite float32[n, columns] matrix; more is more unusual."""
        ...

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What a file holds of it."""
        ...


@dataclass(frozen=True)
class Novelty:
    """A detector with what is needed to apply it.

    Attributes
    ----------
    detector
        Scores.
    columns
        Feature names, in the order of its matrix.
    threshold
        Score from which a record is an attack of an unknown type, though the classifier takes it for benign.
    """

    detector: Detector
    columns: tuple[str, ...]
    threshold: float

    def score(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """float64[n] of a finite float32[n, columns] matrix."""
        return self.detector.score(x) if len(x) else np.zeros(0)


@dataclass(frozen=True)
class Tails:
    """How far out in the distribution of benign records the values of a record lie, column by column.

    A column's surprise is ``-log10`` of the share of benign records at least as far out on the same side (HBOS with quantiles for
    bins; Goldstein and Dengel 2012); the score is the mean over columns, divided by the largest there can be.

    Attributes
    ----------
    quantiles : float32[columns, k]
        Of benign records, ascending.
    """

    quantiles: npt.NDArray[np.float32]
    kind: str = "tails"

    @classmethod
    def fit(cls, benign: npt.NDArray[np.float32], k: int = 1001) -> Tails:
        """Of float32[n, columns] benign records."""
        at = np.linspace(0, 1, min(k, len(benign)))
        return cls(np.ascontiguousarray(np.quantile(benign, at, axis=0, method="inverted_cdf").T.astype(np.float32)))

    def score(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """float64[n] of a finite float32[n, columns] matrix."""
        steps = self.quantiles.shape[1]
        total = np.zeros(len(x))
        for j, edges in enumerate(self.quantiles):
            below = np.searchsorted(edges, x[:, j], side="right")
            above = steps - np.searchsorted(edges, x[:, j], side="left")
            total -= np.log10((1 + np.minimum(below, above)) / (1 + steps))
        return np.clip(total / (len(self.quantiles) * np.log10(1 + steps)), 0.0, 1.0)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The quantiles."""
        return {"quantiles": self.quantiles}

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Tails:
        """The inverse of :meth:`arrays`."""
        quantiles = np.asarray(arrays["quantiles"], np.float32)
        if quantiles.ndim != 2 or not quantiles.size or (np.diff(quantiles, axis=1) < 0).any():
            raise ValueError("novelty: quantiles are not ascending")
        return cls(quantiles)


#: Kind -> the detector of a file's arrays; raises ValueError or KeyError for what is none.
DETECTORS: dict[str, Callable[[Mapping[str, npt.NDArray[Any]]], Detector]] = {"tails": Tails.of, "panel": DetectorPanel.of}
