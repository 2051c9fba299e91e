"""What is watched of scored records, and how it is counted: histograms by fixed edges, which add up over batches, tasks and hours.

A measure is named by its kind and, for those of a feature, its column: ``feature:flow_duration``, ``score``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

#: Kinds: a feature's values; the model's P(attack), its novelty score; the share of alerts; of a feature the share of values that are not
#: there (null, NaN, infinite), and of those that stand for "undefined" (0 or -1).
FEATURE, SCORE, NOVELTY, ALERTS, MISSING, UNDEFINED = "feature", "score", "novelty", "alerts", "missing", "undefined"
#: Column of a record that a measure of the model is taken of.
OF_MODEL = {SCORE: "confidence_score", NOVELTY: "novelty_score", ALERTS: "predicted_label"}
#: Kinds that are a share: two bins, "no" and "yes".
SHARES = (ALERTS, MISSING, UNDEFINED)

#: Fine edges at these quantiles of the reference: enough for the distribution function, joined for PSI.
_LEVELS = np.concatenate([[0.01], np.arange(0.02, 0.99, 0.02), [0.99]])

#: Measure -> the k inner edges of its k + 1 bins, ascending; bin i holds the values up to edge i, the last one those above all edges.
Edges: TypeAlias = Mapping[str, npt.NDArray[np.float64]]


def split(name: str) -> tuple[str, str]:
    """Kind and column of a measure; the column of a measure of the model is empty."""
    kind, _, column = name.partition(":")
    return kind, column


def columns(names: Sequence[str]) -> list[str]:
    """Columns of a record that measures are taken of."""
    return list(dict.fromkeys(OF_MODEL.get(kind, column) for kind, column in map(split, names)))


def edges(values: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, npt.NDArray[np.float64]]:
    """Edges of all measures of a sample.

    Parameters
    ----------
    values
        Column -> float64[n], NaN where there is no value: the features, and those of :data:`OF_MODEL` that are there.

    Returns
    -------
    Edges at the quantiles of each; of shares the one between no and yes. A column without any value has no measure of its values.
    """
    found: dict[str, npt.NDArray[np.float64]] = {}
    half = np.array([0.5])
    for column, all_values in values.items():
        known = all_values[np.isfinite(all_values)]
        kind = next((kind for kind, of in OF_MODEL.items() if of == column), FEATURE)
        if kind == ALERTS:
            found[ALERTS] = half
        elif len(known):
            name = f"{kind}:{column}" if kind == FEATURE else kind
            # a quantile that is a value, not one between two: many features are whole numbers
            found[name] = np.unique(np.quantile(known, _LEVELS, method="lower"))
        if kind == FEATURE:
            found |= {f"{MISSING}:{column}": half, f"{UNDEFINED}:{column}": half}
    return found


def count(values: Mapping[str, npt.NDArray[np.float64]], by: Edges) -> dict[str, npt.NDArray[np.int64]]:
    """Histogram of each measure: int64[k + 1]; all zeros where there is no such column."""
    return {name: _count(name, values, at) for name, at in by.items()}


def _count(name: str, values: Mapping[str, npt.NDArray[np.float64]], at: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    kind, column = split(name)
    found = values.get(OF_MODEL.get(kind, column))
    if found is None:
        return np.zeros(len(at) + 1, dtype=np.int64)
    known = np.isfinite(found)
    if kind == MISSING:
        number = ~known
    elif kind == UNDEFINED:
        number = ((found == 0) | (found == -1))[known]
    else:
        number = found[known]
    return np.bincount(np.searchsorted(at, number.astype(np.float64), side="left"), minlength=len(at) + 1).astype(np.int64)


def values(rows: pa.Table | pa.RecordBatch, names: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
    """Columns as float64[n], NaN for null; columns that the rows do not have are left out."""
    found = {}
    for name in names:
        if name in rows.schema.names:
            column = rows.column(name)
            array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            found[name] = np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)
    return found
