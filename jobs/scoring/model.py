"""The model that scores the records of a type: records in, predictions out.

A :class:`ScoringModel` is what the driver broadcasts and the workers call. It needs NumPy, Numba and Arrow, no MLflow, and for
forests no scikit-learn.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from infra.errors import ModelError
from jobs.scoring.forest import Forest
from jobs.scoring.matrix import Records, check_columns, feature_matrix
from schemas.labels import BENIGN
from schemas.records import PREDICTION_FIELDS, RecordType


class Usual(NamedTuple):
    """Where the benign records of a training lie: 98 of 100 from ``low`` to ``high``, half of them up to ``median`` (None: not known)."""

    low: float
    median: float | None
    high: float


class Predictor(Protocol):
    """Whatever yields class probabilities: a :class:`Forest` or a scikit-learn classifier."""

    def predict_proba(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]: ...


@dataclass(frozen=True)
class ScoringModel:
    """A model with everything needed to apply it. Picklable.

    Attributes
    ----------
    predictor
        Class probabilities of a feature matrix; columns of its result in the order of ``classes``.
    columns
        Feature names, in the order of the matrix.
    classes
        Class names, ``BENIGN`` among them.
    threshold
        P(attack) from which a record is an attack, in (0, 1].
    feature_version
        Version of the feature table it was trained on.
    version
        The registry's version of the model, written to ``model_version``.
    record
        What it scores; its columns and theirs behind the prediction
        (:attr:`schemas.records.RecordType.published`).
    usual
        By column, where benign records of its training lie. Empty for a model that was registered without.

    Raises
    ------
    ModelError
        The parts do not fit together (classes without ``BENIGN``, a threshold out of range, a forest of another width).
    """

    predictor: Predictor
    columns: tuple[str, ...]
    classes: tuple[str, ...]
    threshold: float
    feature_version: str
    version: str
    record: RecordType
    usual: Mapping[str, Usual] = field(default_factory=dict)
    _attacks: npt.NDArray[np.int64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if BENIGN not in self.classes or len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise ModelError(f"model {self.version}: classes {list(self.classes)} are not {BENIGN} and at least one attack")
        if not 0.0 < self.threshold <= 1.0:  # NaN fails too
            raise ModelError(f"model {self.version}: threshold {self.threshold} is not in (0, 1]")
        if isinstance(self.predictor, Forest) and (
            self.predictor.columns != len(self.columns) or self.predictor.leaf_proba.shape[1] != len(self.classes)
        ):
            raise ModelError(
                f"model {self.version}: the forest does not fit its {len(self.columns)} columns and {len(self.classes)} classes"
            )
        object.__setattr__(self, "_attacks", np.array([i for i, c in enumerate(self.classes) if c != BENIGN], dtype=np.int64))

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        record: RecordType,
        *,
        columns: Sequence[str],
        threshold: float,
        feature_version: str,
        version: str,
        usual: Mapping[str, Usual] | None = None,
        compact: bool = True,
    ) -> ScoringModel:
        """Wrap a fitted scikit-learn classifier; forests and trees become a :class:`Forest` unless ``compact`` is False."""
        predictor = Forest.from_sklearn(estimator) if compact else None
        if predictor is None:
            if hasattr(estimator, "n_jobs"):
                estimator.set_params(n_jobs=1)  # a worker owns one core
            predictor = estimator
        classes = tuple(str(c) for c in estimator.classes_)
        return cls(predictor, tuple(columns), classes, float(threshold), feature_version, version, record, dict(usual or {}))

    def decide(self, proba: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8], npt.NDArray[np.int64]]:
        """P(attack) float64[n] in [0, 1]; label int8[n], 1 from the threshold on; index int64[n] into ``classes`` of the type.

        The type of a record labelled 1 is its likeliest attack, even where ``BENIGN`` is likelier than each of them.
        """
        benign = self.classes.index(BENIGN)
        attack = np.clip(1.0 - proba[:, benign], 0.0, 1.0)
        label = (attack >= self.threshold).astype(np.int8)
        kind = np.full(len(proba), benign, dtype=np.int64)
        hit = np.flatnonzero(label)
        kind[hit] = self._attacks[np.argmax(proba[np.ix_(hit, self._attacks)], axis=1)]
        return attack, label, kind

    def predict(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Class probabilities, float64[n, classes], of a finite float32[n, columns] matrix; on one core."""
        if len(x) == 0:
            return np.zeros((0, len(self.classes)))
        if isinstance(self.predictor, Forest):
            return self.predictor.predict_proba(x)
        from threadpoolctl import threadpool_limits

        with threadpool_limits(limits=1):
            return self.predictor.predict_proba(x)

    def score(self, records: Records) -> pa.RecordBatch:
        """Score records.

        Parameters
        ----------
        records
            Table or batch of n rows with at least the columns of the record type; further columns are
            ignored.

        Returns
        -------
        Record batch of n rows in the same order, the columns that the type publishes. ``confidence_score`` = P(attack) = 1 - P(BENIGN);
        ``attack_type`` is the likeliest attack where the label is 1, else ``BENIGN``.

        Raises
        ------
        ModelError
            Columns are missing or of a type that does not convert.
        """
        return self.score_each([records])[0]

    def score_each(self, batches: Sequence[Records]) -> list[pa.RecordBatch]:
        """:meth:`score` of every batch; rows that are alike in different ones go through the model once."""
        for records in batches:
            check_columns(records, self.record.schema.names, "the records to be scored")
        ends = np.cumsum([0, *(records.num_rows for records in batches)])
        decided = self.decide(self.predict(np.concatenate([feature_matrix(records, self.columns) for records in batches])))
        return [self._scored(b, *(d[at:end] for d in decided)) for b, at, end in zip(batches, ends, ends[1:], strict=False)]

    def _scored(self, records: Records, attack: npt.NDArray[Any], label: npt.NDArray[Any], kind: npt.NDArray[Any]) -> pa.RecordBatch:
        n = records.num_rows
        now = pa.scalar(time.time_ns() // 1000, pa.int64()).cast(self.record.published.field("scored_at").type)
        added = {
            "confidence_score": pa.array(attack),
            "predicted_label": pa.array(label),
            "attack_type": pa.array(self.classes, pa.string()).take(pa.array(kind)),
            "model_version": pa.repeat(pa.scalar(self.version, pa.string()), n),
            "scored_at": pa.repeat(now, n),
        }
        arrays = [_plain(records.column(f.name), f) for f in self.record.schema]
        return pa.RecordBatch.from_arrays([*arrays, *(added[f.name] for f in PREDICTION_FIELDS)], schema=self.record.published)


def _plain(column: pa.Array | pa.ChunkedArray, to: pa.Field) -> pa.Array:
    """One contiguous array of the schema's type."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # Arrow keeps chunks where 32-bit string offsets would overflow
        raise ModelError(f"column {to.name}: too long for one batch", "score in batches of at most a million rows")
    if array.type == to.type:
        return array
    try:
        return array.cast(to.type)
    except pa.ArrowInvalid as e:
        raise ModelError(f"column {to.name}: {array.type} does not convert to {to.type}") from e
