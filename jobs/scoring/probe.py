"""Whether a model may score: what is found out before a single record is given to it.

It scores made-up records, some like those of its training, some at the edges of what a column can hold. What it says must be
probabilities, and it must say it in time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from infra.errors import ModelError, one_line
from jobs.scoring.matrix import feature_matrix
from jobs.scoring.model import ScoringModel, Usual
from jobs.scoring.names import features_of
from schemas.records import RecordType

#: Records of a probe: what the budget of time is about.
ROWS = 1000
_ROUNDS = 7
_SUM = 1e-6
_WAITING = 5.0
_LONGEST_NAME, _MOST_CLASSES = 64, 1000


class TooSlowError(ModelError):
    """A model takes longer than its budget."""


def examine(model: ScoringModel, label: str) -> None:
    """Let a model score made-up records.

    Parameters
    ----------
    model
        The model.
    label
        What a message calls it.

    Raises
    ------
    ModelError
        It fails, or what it says are no probabilities; or its classes cannot be stored.
    """
    names = (*model.classes, *model.types)
    if bad := [name for name in names if not name or len(name) > _LONGEST_NAME or not name.isprintable()]:
        raise ModelError(f"{label}: class {bad[0][:80]!r} is no name of at most {_LONGEST_NAME} characters")
    if len(model.classes) > _MOST_CLASSES:
        raise ModelError(f"{label}: {len(model.classes)} classes are more than {_MOST_CLASSES}")
    records = examples(model.record, model.usual)
    try:
        proba = np.asarray(model.predict(feature_matrix(records, model.columns)), np.float64)
        judged = model.judge([records])[0]
        scored = model.score(records)
    except Exception as e:  # a model of any kind: whatever it raises
        raise ModelError(f"{label}: fails on a probe of {ROWS} records: {type(e).__name__}: {one_line(e)}") from e
    _probabilities(proba, f"{label}: P(class)")
    if (worst := float(np.abs(proba.sum(axis=1) - 1).max())) > _SUM:
        raise ModelError(f"{label}: probabilities of a record sum to 1 ± {worst:.2g}")
    _probabilities(judged.attack, f"{label}: P(attack)")
    if judged.novelty is not None:
        _probabilities(judged.novelty, f"{label}: novelty")
    if scored.num_rows != ROWS or not scored.schema.equals(model.record.published):
        raise ModelError(f"{label}: what it writes are not the columns of {model.record.name}")


def _probabilities(found: npt.NDArray[np.float64], what: str) -> None:
    if (wrong := np.count_nonzero(~np.isfinite(found))) > 0:
        raise ModelError(f"{what} is NaN or infinite in {wrong:,} of {found.size:,} cases of a probe")
    if found.size and not (found.min() >= -_SUM and found.max() <= 1 + _SUM):
        raise ModelError(f"{what} is between {found.min():.3g} and {found.max():.3g} in a probe, not between 0 and 1")


def in_time(model: ScoringModel, label: str, most_ms: float) -> float:
    """Milliseconds that a model takes for 1,000 records: of processor time, the best of some rounds.

    What else the machine does is not the model's fault, so the clock on the wall counts only beyond :data:`_WAITING` times the budget: a
    model that waits for something takes no processor time.

    Raises
    ------
    TooSlowError
        More than ``most_ms``.
    """
    records = examples(model.record, model.usual)
    model.score(records)  # what is compiled, is compiled now
    worked = waited = np.inf
    for _ in range(_ROUNDS):
        begin, wall = time.process_time(), time.perf_counter()
        model.score(records)
        worked, waited = min(worked, 1e3 * (time.process_time() - begin)), min(waited, 1e3 * (time.perf_counter() - wall))
        if worked > 20 * most_ms:
            break
    took = float(worked if waited <= _WAITING * most_ms else waited)
    if took > most_ms:
        raise TooSlowError(
            f"{label}: takes {took:.1f} ms for {ROWS:,} records, more than scoring.max_ms_per_1000 ({most_ms:g})",
            "promote a smaller model, or raise scoring.max_ms_per_1000",
        )
    return took


def examples(record: RecordType, usual: Mapping[str, Usual] | None = None, rows: int = ROWS, seed: int = 1) -> pa.RecordBatch:
    """Made-up records, all of them different: a fifth at the edges, the others over many magnitudes or, where known, as usual."""
    rng = np.random.default_rng(seed)
    features = set(features_of(record).names)
    arrays = []
    for field in record.schema:
        if field.name in features:
            arrays.append(_numbers(field.type, (usual or {}).get(field.name), rng, rows))
        else:
            arrays.append(_anything(field.type, rows))
    return pa.RecordBatch.from_arrays(arrays, schema=record.schema)


def _numbers(kind: pa.DataType, span: Usual | None, rng: np.random.Generator, rows: int) -> pa.Array:
    if pa.types.is_boolean(kind):
        return pa.array(rng.random(rows) < 0.5)
    values = np.where(rng.random(rows) < 0.3, 0.0, rng.lognormal(4, 3, rows))
    if span is not None:
        values[rows // 2 :] = rng.uniform(span.low, max(span.high, np.nextafter(span.low, np.inf)), rows - rows // 2)
    if pa.types.is_integer(kind):
        whole = np.iinfo(kind.to_pandas_dtype())
        low, high = max(float(whole.min), -1.0), float(whole.max // 2)
        values[: rows // 5] = rng.choice([0.0, 1.0, low, high], rows // 5)
        return pa.array(np.clip(np.rint(values), low, high).astype(np.int64)).cast(kind)
    real = np.finfo(kind.to_pandas_dtype())
    values[: rows // 5] = rng.choice([0.0, -1.0, float(real.max), float(real.tiny)], rows // 5)
    return pa.array(values, kind)


def _anything(kind: pa.DataType, rows: int) -> pa.Array:
    """A column that no model reads."""
    some: Any = None
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        some = "probe"
    elif pa.types.is_boolean(kind):
        some = False
    elif pa.types.is_timestamp(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return pa.array(np.zeros(rows, np.int64)).cast(kind)
    return pa.repeat(pa.scalar(some, kind), rows) if some is not None else pa.nulls(rows, kind)
