"""Packets and flows over time by class of label, from closed flow records. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.labels import BY_NAME, KINDS

#: Classes in the order in which they are stacked; a label nobody knows is one of a kind.
CLASSES = KINDS


@dataclass(frozen=True)
class Series:
    """Rates per second in bins of equal length.

    ``start`` is the first edge (s since the epoch), ``step`` the length of a bin in seconds; ``packets`` and ``flows`` map a class to
    float[n]. ``left_out`` counts flows whose times lie far from all others (a damaged capture's clock), which would flatten the picture.
    """

    start: float
    step: float
    packets: dict[str, npt.NDArray[np.float64]]
    flows: dict[str, npt.NDArray[np.float64]]
    left_out: int = 0


def class_of(label: str) -> str:
    """Class of a label: benign, scan, flood, brute-force, per-flow."""
    known = BY_NAME.get(label)
    return known.kind if known is not None else "per-flow"


def over_time(records: pa.Table, bins: int = 100) -> Series | None:
    """Spread each flow's packets evenly over its duration and count flows where they start; None without records."""
    if not records.num_rows:
        return None
    begin, end = (records.column(c).cast(pa.int64()).to_numpy() / 1e6 for c in ("start_time", "end_time"))
    packets = records.column("total_fwd_packets").to_numpy() + records.column("total_backward_packets").to_numpy()
    classes = np.array([class_of(label) for label in records.column("attack_type").to_pylist()])
    low, high = _range(begin, end)
    inside = (end >= low) & (begin <= high)
    begin, end, packets, classes = begin[inside], end[inside], packets[inside].astype(np.float64), classes[inside]
    edges = np.linspace(low, high, bins + 1)
    step = (high - low) / bins
    present = [c for c in CLASSES if (classes == c).any()]
    return Series(
        start=low,
        step=step,
        packets={c: _spread(begin[classes == c], end[classes == c], packets[classes == c], edges) / step for c in present},
        flows={c: np.histogram(begin[classes == c], edges)[0] / step for c in present},
        left_out=int((~inside).sum()),
    )


def _range(begin: npt.NDArray[np.float64], end: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(begin.min()), float(end.max())
    inner_low, inner_high = (float(q) for q in np.percentile(np.concatenate([begin, end]), [1, 99]))
    inner = max(inner_high - inner_low, 1.0)
    if high - low > 20 * inner:
        low, high = max(low, inner_low - inner), min(high, inner_high + inner)
    return low, max(high, low + 1.0)


def _spread(
    begin: npt.NDArray[np.float64], end: npt.NDArray[np.float64], amount: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Amount per bin. A flow gives its whole amount at once where it has no duration."""
    span = np.maximum(end - begin, 1e-6)
    before = np.array([float((np.clip((edge - begin) / span, 0.0, 1.0) * amount).sum()) for edge in edges])
    before[-1] = float(amount.sum())
    return np.diff(before)
