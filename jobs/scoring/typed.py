"""Two questions, two classifiers: whether a record is of an attack, and of which kind.

What tells attacks from benign traffic best, boosted trees with a single sum, need not tell attacks from one another; what does that, a
small forest fitted to attacks alone, is not disturbed by the many benign records. The second is asked only where the first sees
something, which is seldom: the kind of a record costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from jobs.scoring.forest import Forest
from jobs.scoring.treefile import arrays, trees_of

#: The class of all attacks, of a classifier that knows no kinds.
ATTACK = "ATTACK"
#: P(attack), as the first classifier gives it, from which the second is asked. Below it the kinds are as frequent as in the training.
ASKED = 0.01


class Predictor(Protocol):
    """Whatever yields class probabilities: compiled trees or a scikit-learn classifier."""

    def predict_proba(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]: ...


@dataclass(frozen=True)
class Typer:
    """Tells attacks from one another.

    Attributes
    ----------
    forest
        Its leaves hold fractions of the kinds.
    kinds
        Labels, in the order of its leaves' columns; two at least.
    shares : float64[kinds]
        Of the attacks it was fitted to: what is said of a record that it is not asked about.

    Raises
    ------
    ValueError
        The parts do not fit together.
    """

    forest: Forest
    kinds: tuple[str, ...]
    shares: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if len(self.kinds) < 2 or len(set(self.kinds)) != len(self.kinds) or self.forest.width != len(self.kinds):
            raise ValueError(f"a forest of {self.forest.width} kinds does not fit the kinds {list(self.kinds)}")
        if self.shares.shape != (len(self.kinds),) or not np.isfinite(self.shares).all() or (self.shares < 0).any():
            raise ValueError("shares of the kinds are no shares")

    @classmethod
    def from_sklearn(cls, estimator: Any, labels: Sequence[str]) -> Typer:
        """Of a fitted forest of scikit-learn, and the labels it was fitted to."""
        forest = Forest.from_sklearn(estimator)
        if forest is None:
            raise ValueError(f"{type(estimator).__name__} is no forest")
        kinds = tuple(str(kind) for kind in estimator.classes_)
        names, counts = np.unique(np.asarray(labels), return_counts=True)
        found = dict(zip(names.tolist(), counts.tolist(), strict=True))
        return cls(forest, kinds, np.array([found.get(kind, 0) for kind in kinds]) / max(len(labels), 1))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What a file holds of it."""
        trees = self.forest.trees
        return {**arrays(trees), "columns": np.array(trees.columns), "kinds": np.array(self.kinds), "shares": self.shares}

    @classmethod
    def of(cls, found: Mapping[str, npt.NDArray[Any]]) -> Typer:
        """The inverse of :meth:`arrays`.

        Raises
        ------
        ValueError, KeyError
            The arrays are none of a typer.
        """
        kinds = tuple(str(kind) for kind in np.asarray(found["kinds"]).tolist())
        return cls(Forest(trees_of(found, int(found["columns"]))), kinds, np.asarray(found["shares"], np.float64))


@dataclass(frozen=True)
class Typed:
    """P(attack) by one classifier, the kind by another.

    Attributes
    ----------
    detector
        Knows benign records and attacks.
    attack
        Column of the attacks in what it yields.
    typer
        Knows attacks.
    """

    detector: Predictor
    attack: int
    typer: Typer

    @property
    def columns(self) -> int:
        """Number of columns of a matrix."""
        return self.typer.forest.columns

    @property
    def width(self) -> int:
        """Number of classes: benign, and the kinds."""
        return 1 + len(self.typer.kinds)

    def predict_proba(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Class probabilities, float64[n, 1 + kinds], of a finite float32[n, columns] matrix; the first is that of a benign record."""
        attack = self.detector.predict_proba(x)[:, self.attack]
        kinds = np.tile(self.typer.shares, (len(x), 1))
        asked = np.flatnonzero(attack >= ASKED)
        if len(asked):
            kinds[asked] = self.typer.forest.predict_proba(np.ascontiguousarray(x[asked]))
        return np.column_stack([1.0 - attack, attack[:, None] * kinds])
