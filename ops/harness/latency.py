"""Distributions of delays. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def percentiles(values_ms: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, float | None]:
    """``p50`` and ``p99`` of delays in ms (a value that occurred, not one between two); null without any."""
    values = np.asarray(values_ms, dtype=np.float64)
    if not len(values):
        return {"p50": None, "p99": None}
    p50, p99 = np.percentile(values, [50, 99], method="higher")
    return {"p50": round(float(p50), 1), "p99": round(float(p99), 1)}


def summary(values_ms: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, Any]:
    """The same with the number of values and the largest."""
    values = np.asarray(values_ms, dtype=np.float64)
    return {**percentiles(values), "max": round(float(values.max()), 1) if len(values) else None, "n": len(values)}


def histogram(values_ms: Sequence[float] | npt.NDArray[np.float64], bins: int = 24) -> tuple[list[float], list[int]]:
    """Edges (ms, bins + 1 of them, equal on a logarithmic scale) and counts; empty without values."""
    values = np.clip(np.asarray(values_ms, dtype=np.float64), 1.0, None)
    if not len(values):
        return [], []
    low, high = float(values.min()), max(float(values.max()), float(values.min()) * 1.5)
    edges = np.geomspace(low, high, bins + 1)
    edges[-1] = max(edges[-1], high)
    counts, _ = np.histogram(values, edges)
    return [round(float(e), 3) for e in edges], [int(c) for c in counts]
