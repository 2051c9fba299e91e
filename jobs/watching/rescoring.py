"""Scoring what lies in the lake with another model, in Spark's workers, and adding up how it differs from what was said then.

What is said of a record is one of: then and now, an attack type or ``BENIGN``; of its label the same, empty where it has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.scoring.matrix import feature_matrix
from jobs.scoring.model import ScoringModel
from jobs.sinks import parquet
from jobs.watching.stored import SENSOR
from schemas.labels import BENIGN
from schemas.records import RecordType

#: Columns of the label that is joined to a record; null: it has none.
TRUTH_LABEL, TRUTH_TYPE = "truth_label", "truth_type"
FEATURE_VERSION = "feature_version"
#: Examples that are kept of what was said of a kind on a day.
EXAMPLES = 5
_DAY_US = 86_400_000_000
_EPOCH = date(1970, 1, 1)


class Said(NamedTuple):
    """What rows have in common: day, sensor, what was said of them then, what is said now, what their label says."""

    day: date
    sensor: str
    then: str
    now: str
    truth: str


class Example(NamedTuple):
    """A record, and P(attack) of both. Ordered so that the surest change comes first."""

    change: float
    key: str
    score: float
    before: float


@dataclass
class Sum:
    """Rows of which the same was said.

    Attributes
    ----------
    rows
        How many.
    score
        Sum of P(attack) now; ``least`` and ``most`` are its bounds.
    examples
        Some of them, the largest change of P(attack) first.
    """

    rows: int = 0
    score: float = 0.0
    least: float = 1.0
    most: float = 0.0
    examples: list[Example] = field(default_factory=list)

    def add(self, other: Sum) -> None:
        """Put the rows of another sum to these."""
        self.rows += other.rows
        self.score += other.score
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        self.examples = sorted([*self.examples, *other.examples], key=lambda one: (-one.change, one.key))[:EXAMPLES]


#: Sums by what was said; rows of another feature version are counted beside them.
Sums: TypeAlias = dict[Said, Sum]

SUMMED_DDL = (
    "day date, sensor string, was string, now string, truth string, rows bigint, score double, least double, most double, "
    "keys array<string>, scores array<double>, befores array<double>, left_out bigint"
)
_SUMMED = pa.schema(
    [
        ("day", pa.date32()), ("sensor", pa.string()), ("was", pa.string()), ("now", pa.string()), ("truth", pa.string()),
        ("rows", pa.int64()), ("score", pa.float64()), ("least", pa.float64()), ("most", pa.float64()),
        ("keys", pa.list_(pa.string())), ("scores", pa.list_(pa.float64())), ("befores", pa.list_(pa.float64())), ("left_out", pa.int64()),
    ]
)  # fmt: skip
WRITTEN_DDL = (
    "record_type string, record_key string, model_version string, event_time timestamp, confidence_score double, predicted_label tinyint, "
    "attack_type string, novelty_score double, event_date date"
)
_TS = pa.timestamp("us", tz="UTC")
#: A table of its own for what a backtest says, keyed by record and version.
WRITTEN = pa.schema(
    [
        ("record_type", pa.string()), ("record_key", pa.string()), ("model_version", pa.string()), ("event_time", _TS),
        ("confidence_score", pa.float64()), ("predicted_label", pa.int8()), ("attack_type", pa.string()), ("novelty_score", pa.float64()),
        (parquet.PARTITION, pa.date32()),
    ]
)  # fmt: skip


def columns(model: ScoringModel) -> list[str]:
    """Columns of a record that a backtest reads."""
    record = model.record
    then = ("confidence_score", "predicted_label", "attack_type")
    return list(dict.fromkeys([record.key, record.event_time, SENSOR, FEATURE_VERSION, *then, *model.reads]))


@dataclass(frozen=True)
class Verdicts:
    """What a model says of n records: P(attack) float64[n], label int8[n], attack type str[n], novelty float64[n] or None."""

    score: npt.NDArray[np.float64]
    label: npt.NDArray[np.int8]
    kind: npt.NDArray[Any]
    novelty: npt.NDArray[np.float64] | None


def judge(model: ScoringModel, batch: pa.RecordBatch) -> Verdicts:
    """What a model says of records that have the columns that it reads.

    Raises
    ------
    ModelError
        A column is missing or is no number.
    """
    score, label, kind, novel = model.decide_by(lambda columns: feature_matrix(batch, columns))
    return Verdicts(score, label, np.array(model.types, dtype=object)[kind], novel)


def of_version(batch: pa.RecordBatch, version: str) -> pa.RecordBatch:
    """The rows whose features have the meaning that a model knows; all where records do not say."""
    if FEATURE_VERSION not in batch.schema.names:
        return batch
    import pyarrow.compute as pc

    return batch.filter(pc.fill_null(pc.equal(batch.column(FEATURE_VERSION), version), False))


def summed(batches: Iterable[pa.RecordBatch], model: ScoringModel) -> Iterator[pa.RecordBatch]:
    """Sums of a task's rows, as rows of :data:`SUMMED_DDL`."""
    sums: Sums = {}
    left_out = 0
    for batch in batches:
        known = of_version(batch, model.feature_version)
        left_out += batch.num_rows - known.num_rows
        if known.num_rows:
            for said, one in _sums(known, judge(model, known), model.record):
                sums.setdefault(said, Sum()).add(one)
    yield _packed(sums, left_out)


def written(batches: Iterable[pa.RecordBatch], model: ScoringModel) -> Iterator[pa.RecordBatch]:
    """What the model says of each record, as rows of :data:`WRITTEN`."""
    for batch in batches:
        known = of_version(batch, model.feature_version)
        if not known.num_rows:
            continue
        said, record = judge(model, known), model.record
        time, n = known.column(record.event_time), known.num_rows
        yield pa.RecordBatch.from_arrays(
            [
                pa.repeat(pa.scalar(record.name), n),
                known.column(record.key),
                pa.repeat(pa.scalar(model.version), n),
                time.cast(_TS),
                pa.array(said.score, pa.float64()),
                pa.array(said.label, pa.int8()),
                pa.array(said.kind, pa.string()),
                pa.nulls(n, pa.float64()) if said.novelty is None else pa.array(said.novelty, pa.float64()),
                time.cast(pa.date32()),
            ],
            schema=WRITTEN,
        )


def unpacked(row: Any) -> tuple[Said, Sum]:
    """A sum, of a row of :data:`SUMMED_DDL`."""
    examples = [
        Example(abs(score - before), key, score, before) for key, score, before in zip(row.keys, row.scores, row.befores, strict=True)
    ]
    return Said(row.day, row.sensor, row.was, row.now, row.truth), Sum(row.rows, row.score, row.least, row.most, examples)


def _sums(batch: pa.RecordBatch, said: Verdicts, record: RecordType) -> Iterator[tuple[Said, Sum]]:
    days = np.asarray(batch.column(record.event_time).cast(pa.int64()).to_numpy(zero_copy_only=False)) // _DAY_US
    then = _kinds(batch, "predicted_label", "attack_type", BENIGN)
    truth = _kinds(batch, TRUTH_LABEL, TRUTH_TYPE, "")
    sensor = _words(batch, SENSOR, "")
    before = np.asarray(batch.column("confidence_score").to_numpy(zero_copy_only=False), dtype=np.float64)
    keys = batch.column(record.key)
    words = np.array([sensor, then, said.kind.astype(str), truth])
    codes, names = zip(*(np.unique(some, return_inverse=True)[::-1] for some in words), strict=True)
    groups, group = np.unique(np.stack([days, *codes]), axis=1, return_inverse=True)
    order = np.argsort(group.ravel(), kind="stable")
    for at, rows in enumerate(np.split(order, np.searchsorted(group.ravel()[order], np.arange(1, groups.shape[1])))):
        score = said.score[rows]
        apart = np.nan_to_num(np.abs(score - before[rows]))
        shown = rows[np.argsort(-apart, kind="stable")[:EXAMPLES]]
        examples = [
            Example(float(abs(said.score[n] - before[n])), keys[int(n)].as_py(), float(said.score[n]), float(before[n])) for n in shown
        ]
        texts = [str(some[code]) for some, code in zip(names, groups[1:, at], strict=True)]
        one = Sum(len(rows), float(score.sum()), float(score.min()), float(score.max()), examples)
        yield Said(_EPOCH + timedelta(days=int(groups[0, at])), *texts), one


def _kinds(batch: pa.RecordBatch, label: str, kind: str, otherwise: str) -> npt.NDArray[np.str_]:
    """Attack types of the rows labelled 1, ``BENIGN`` of those labelled 0, ``otherwise`` of those without a label."""
    said = np.asarray(batch.column(label).cast(pa.float64()).to_numpy(zero_copy_only=False))
    names = _words(batch, kind, "ATTACK")
    return np.where(said >= 0.5, names, np.where(np.isnan(said), otherwise, BENIGN))


def _words(batch: pa.RecordBatch, name: str, otherwise: str) -> npt.NDArray[np.str_]:
    if name not in batch.schema.names:
        return np.full(batch.num_rows, otherwise)
    return np.array(batch.column(name).fill_null(otherwise).to_pylist(), dtype=str)


def _packed(sums: Sums, left_out: int) -> pa.RecordBatch:
    rows = [
        {
            "day": said.day, "sensor": said.sensor, "was": said.then, "now": said.now, "truth": said.truth, "rows": one.rows,
            "score": one.score, "least": one.least, "most": one.most, "keys": [e.key for e in one.examples],
            "scores": [e.score for e in one.examples], "befores": [e.before for e in one.examples], "left_out": 0,
        }
        for said, one in sums.items()
    ]  # fmt: skip
    if left_out:
        rows.append({"left_out": left_out})
    return pa.RecordBatch.from_pylist(rows, schema=_SUMMED)
