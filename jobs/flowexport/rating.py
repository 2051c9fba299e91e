"""Sampling rates of decoded records, and what they make of bytes and packets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.flowexport.columns import FlowColumns, RateSource
from jobs.flowexport.optiondata import OptionData
from jobs.flowexport.sampling import option_rates

#: Scaled counts stay below: what is more is damage.
_MOST = float(1 << 62)


def by_options(options: Sequence[OptionData], numbers: NDArray[np.int32]) -> Iterator[tuple[OptionData, Any]]:
    """Records by what was known of their exporter: that, and an index of its records."""
    if len(options) == 1:
        yield options[0], slice(None)
        return
    order = np.argsort(numbers, kind="stable")
    found, first = np.unique(numbers[order], return_index=True)
    for number, index in zip(found, np.split(order, first[1:]), strict=False):
        yield options[number], index


def give_rates(options: Sequence[OptionData], numbers: NDArray[np.int32], header_rate: NDArray[np.float64], out: FlowColumns) -> None:
    """Fill in rate, its source, and the scaled counts.

    Parameters
    ----------
    options
        What exporters said of themselves.
    numbers
        Which of them holds of each record.
    header_rate
        Of each record's header; 0: it says none.
    out
        Records; those with a rate of their own have it already.
    """
    rate, source = out["rate"], out["rate_source"]
    for known, index in by_options(options, numbers):
        if not (known.rate or known.samplers or known.by_interface):
            continue
        stated = option_rates(known, out["sampler"][index], out["input"][index])
        use = (source[index] == RateSource.UNKNOWN) & (stated > 0)
        rate[index] = np.where(use, stated, rate[index])
        source[index] = np.where(use, np.uint8(RateSource.OPTIONS), source[index])
    use = (source == RateSource.UNKNOWN) & (header_rate > 0)
    rate[use], source[use] = header_rate[use], RateSource.HEADER
    factor = rate * out["kept_of"]
    more = factor > 1
    for name in ("bytes", "packets"):
        scaled = out[f"scaled_{name}"]
        scaled[:] = out[name]
        if more.any():
            scaled[more] = np.minimum(np.rint(out[name][more] * factor[more]), _MOST).astype(np.uint64)
