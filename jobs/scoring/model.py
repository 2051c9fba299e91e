"""The model that scores the records of a type: records in, predictions out.

A :class:`ScoringModel` is what the driver hands out and the workers call. It needs NumPy, Numba and Arrow, no MLflow, and for trees
no scikit-learn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from infra.errors import ModelError
from jobs.scoring.calibration import Calibration
from jobs.scoring.compiled import Compiled, compiled
from jobs.scoring.matrix import Records, check_columns, feature_matrix
from jobs.scoring.novelty import Novelty
from jobs.scoring.typed import Predictor, Typed, Typer
from schemas.labels import BENIGN, UNKNOWN
from schemas.records import PREDICTION_FIELDS, RecordType


class Usual(NamedTuple):
    """Where the benign records of a training lie: 98 of 100 from ``low`` to ``high``, half of them up to ``median`` (None: not known)."""

    low: float
    median: float | None
    high: float


class Judgement(NamedTuple):
    """What a model says of n records: P(attack) float64[n], label int8[n], index int64[n] into its verdicts, novelty float64[n] or None."""

    attack: npt.NDArray[np.float64]
    label: npt.NDArray[np.int8]
    kind: npt.NDArray[np.int64]
    novelty: npt.NDArray[np.float64] | None


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
    attack_types
        Class -> what alerts call it, for classes whose name is another.
    calibration
        Makes P(attack) a probability; None: the classifier's is taken.
    novelty
        Finds what no class of the classifier is; None: nothing does.

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
    attack_types: Mapping[str, str] = field(default_factory=dict)
    calibration: Calibration | None = None
    novelty: Novelty | None = None
    _attacks: npt.NDArray[np.int64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if BENIGN not in self.classes or len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise ModelError(f"model {self.version}: classes {list(self.classes)} are not {BENIGN} and at least one attack")
        if not 0.0 < self.threshold <= 1.0:  # NaN fails too
            raise ModelError(f"model {self.version}: threshold {self.threshold} is not in (0, 1]")
        if isinstance(self.predictor, Compiled | Typed) and (
            self.predictor.columns != len(self.columns) or self.predictor.width != len(self.classes)
        ):
            raise ModelError(f"model {self.version}: its trees do not fit its {len(self.columns)} columns and {len(self.classes)} classes")
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
        attack_types: Mapping[str, str] | None = None,
        calibration: Calibration | None = None,
        novelty: Novelty | None = None,
        typer: Typer | None = None,
        compact: bool = True,
    ) -> ScoringModel:
        """Wrap a fitted scikit-learn classifier; trees are compiled (:mod:`jobs.scoring.compiled`) unless ``compact`` is False.

        With a ``typer`` the classifier knows benign records and attacks alone, and the classes are ``BENIGN`` and the typer's kinds.

        Raises
        ------
        ValueError
            What a file says of its trees cannot be: it is damaged.
        ModelError
            The parts do not fit together.
        """
        predictor: Predictor | None = compiled(estimator) if compact else None
        if predictor is None:
            if hasattr(estimator, "n_jobs"):
                estimator.set_params(n_jobs=1)  # a worker owns one core
            predictor = estimator
        classes = tuple(str(c) for c in estimator.classes_)
        if typer is not None:
            if len(classes) != 2 or BENIGN not in classes:
                raise ModelError(f"model {version}: classes {list(classes)} are not {BENIGN} and one for all attacks")
            predictor = Typed(predictor, 1 - classes.index(BENIGN), typer)
            classes = (BENIGN, *typer.kinds)
        return cls(
            predictor=predictor,
            columns=tuple(columns),
            classes=classes,
            threshold=float(threshold),
            feature_version=feature_version,
            version=version,
            record=record,
            usual=dict(usual or {}),
            attack_types=dict(attack_types or {}),
            calibration=calibration,
            novelty=novelty,
        )

    @property
    def verdicts(self) -> tuple[str, ...]:
        """What :meth:`decide` may say: the classes, and ``UNKNOWN``."""
        return (*self.classes, UNKNOWN.name)

    @property
    def types(self) -> tuple[str, ...]:
        """The same as alerts call it."""
        return tuple(self.attack_types.get(verdict, verdict) for verdict in self.verdicts)

    def decide(
        self, proba: npt.NDArray[np.float64], novel: npt.NDArray[np.float64] | None = None
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8], npt.NDArray[np.int64]]:
        """P(attack) float64[n] in [0, 1]; label int8[n]; index int64[n] into ``verdicts``.

        A record is an attack from the classifier's threshold on, and its type is its likeliest attack, even where ``BENIGN`` is likelier
        than each of them. Of the others, those are attacks of an unknown type whose novelty (``novel``, :meth:`novelties`) is at least
        the detector's threshold.
        """
        benign = self.classes.index(BENIGN)
        attack = np.clip(1.0 - proba[:, benign], 0.0, 1.0)
        label = (attack >= self.threshold).astype(np.int8)
        kind = np.full(len(proba), benign, dtype=np.int64)
        hit = np.flatnonzero(label)
        kind[hit] = self._attacks[np.argmax(proba[np.ix_(hit, self._attacks)], axis=1)]
        if novel is not None and self.novelty is not None:
            unknown = (label == 0) & (novel >= self.novelty.threshold)
            label[unknown], kind[unknown] = 1, len(self.classes)
        return attack, label, kind

    def predict(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Class probabilities, float64[n, classes], of a finite float32[n, columns] matrix; calibrated; on one core."""
        proba = self.uncalibrated(x)
        return self.calibration(proba, self.classes.index(BENIGN)) if self.calibration is not None else proba

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """Every column that it reads: those of the detector of unknown attacks, then others of the classifier."""
        return tuple(dict.fromkeys((*(self.novelty.columns if self.novelty is not None else ()), *self.columns)))

    def decide_by(
        self, matrix: Callable[[tuple[str, ...]], npt.NDArray[np.float32]]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8], npt.NDArray[np.int64], npt.NDArray[np.float64] | None]:
        """What :meth:`decide` says of records whose columns ``matrix`` gives, finite float32[n, columns]; and their novelty, if any."""
        novel = None if self.novelty is None else self.novelty.score(matrix(self.novelty.columns))
        return *self.decide(self.predict(matrix(self.columns)), novel), novel

    def uncalibrated(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Class probabilities as the classifier gives them."""
        if len(x) == 0:
            return np.zeros((0, len(self.classes)))
        if _compact(self.predictor):
            return self.predictor.predict_proba(x)
        from threadpoolctl import threadpool_limits

        with threadpool_limits(limits=1):
            proba = self.predictor.predict_proba(x)
        if proba.shape != (len(x), len(self.classes)):
            raise ModelError(
                f"model {self.version}: gives {list(proba.shape)} numbers for {len(x)} records and {len(self.classes)} classes"
            )
        return proba

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
        return [self._scored(records, judged) for records, judged in zip(batches, self.judge(batches), strict=True)]

    def judge(self, batches: Sequence[Records]) -> list[Judgement]:
        """What :meth:`score_each` writes beside the records of each batch."""
        if not batches:
            return []
        for records in batches:
            check_columns(records, self.record.schema.names, "the records to be scored")
        ends = np.cumsum([0, *(records.num_rows for records in batches)])
        x = np.concatenate([feature_matrix(records, self.reads) for records in batches])
        attack, label, kind, novel = self.decide_by(partial(_columns, x, self.reads))
        return [
            Judgement(attack[at:end], label[at:end], kind[at:end], novel[at:end] if novel is not None else None)
            for at, end in pairwise(ends)
        ]

    def _scored(self, records: Records, judged: Judgement) -> pa.RecordBatch:
        n = records.num_rows
        now = pa.scalar(time.time_ns() // 1000, pa.int64()).cast(self.record.published.field("scored_at").type)
        added = {
            "confidence_score": pa.array(judged.attack),
            "predicted_label": pa.array(judged.label),
            "attack_type": pa.array(self.types, pa.string()).take(pa.array(judged.kind)),
            "model_version": pa.repeat(pa.scalar(self.version, pa.string()), n),
            "scored_at": pa.repeat(now, n),
        }
        if judged.novelty is not None:
            added["novelty_score"] = pa.array(judged.novelty)
        arrays = [_plain(records.column(f.name), f) for f in self.record.schema]
        scores = [added[f.name] if f.name in added else pa.nulls(n, f.type) for f in PREDICTION_FIELDS]
        return pa.RecordBatch.from_arrays([*arrays, *scores], schema=self.record.published)


def _compact(predictor: Predictor) -> bool:
    """Whether compiled trees are all that it is made of."""
    if isinstance(predictor, Typed):
        return isinstance(predictor.detector, Compiled)
    return isinstance(predictor, Compiled)


def _columns(x: npt.NDArray[np.float32], have: tuple[str, ...], wanted: tuple[str, ...]) -> npt.NDArray[np.float32]:
    """Columns of a matrix by their names."""
    return x if wanted == have else np.ascontiguousarray(x[:, [have.index(name) for name in wanted]])


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
