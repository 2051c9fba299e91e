"""From what a classifier says to a probability: a monotone curve through knots, found on records that it was not fitted to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Calibration:
    """A curve from P(attack) as the classifier gives it to P(attack) as it turned out to be.

    Attributes
    ----------
    raw : float64[k]
        Knots, ascending, in [0, 1]; at least two.
    true : float64[k]
        What they become, not descending, in [0, 1]; straight lines between.

    Raises
    ------
    ValueError
        The knots are no such curve.
    """

    raw: npt.NDArray[np.float64]
    true: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        knots = (self.raw, self.true)
        if self.raw.shape != self.true.shape or self.raw.ndim != 1 or len(self.raw) < 2:
            raise ValueError(f"calibration: knots of shape {self.raw.shape} and {self.true.shape}")
        if not all(np.isfinite(k).all() and k.min() >= 0 and k.max() <= 1 and (np.diff(k) >= 0).all() for k in knots):
            raise ValueError("calibration: knots are not ascending within [0, 1]")

    def of_attack(self, attack: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """P(attack) calibrated, float64[n], of the classifier's, float64[n] in [0, 1]."""
        return np.interp(attack, self.raw, self.true)

    def __call__(self, proba: npt.NDArray[np.float64], benign: int) -> npt.NDArray[np.float64]:
        """Class probabilities, float64[n, classes], whose P(attack) is calibrated; the attacks keep their proportions.

        ``benign`` is the column of benign records.
        """
        attack = np.clip(1.0 - proba[:, benign], 0.0, 1.0)
        mended = self.of_attack(attack)
        out = proba * np.divide(mended, attack, out=np.zeros_like(mended), where=attack > 0)[:, None]
        if (none := (attack == 0) & (mended > 0)).any():  # nothing to keep the proportions of
            out[none] = (mended[none] / max(proba.shape[1] - 1, 1))[:, None]
        out[:, benign] = 1.0 - mended
        return out

    def arrays(self) -> dict[str, npt.NDArray[np.float64]]:
        """The knots, as a file holds them."""
        return {"raw": self.raw, "true": self.true}

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[np.float64]]) -> Calibration:
        """The inverse of :meth:`arrays`."""
        return cls(*(np.asarray(arrays[name], np.float64) for name in ("raw", "true")))
