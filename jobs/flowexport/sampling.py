"""How many packets a sampled one stands for.

NetFlow and IPFIX: the record says so, else an options record of its sampler, of its interface, or of the exporter, else the header (v5).
sFlow: packets that passed the sampler by samples that were taken, which is right also when a busy agent takes fewer than it was told to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.flowexport.columns import RateSource
from jobs.flowexport.optiondata import OptionData
from jobs.flowexport.sequence import Sequence, signed

#: Samples from which their pool is believed more than what the agent was told, and those that it is taken over.
_FEWEST, _WINDOW = 16, 512
_SPAN = 1 << 32


@dataclass
class SampleSource:
    """Samples of one data source: their count, and the pool they were taken from since some sample before.

    Attributes
    ----------
    sequence
        Of the samples.
    anchors
        Number and pool of two samples before, the older one first: the rate is taken over the time since that.
    pool, drops
        Of the newest sample (-1: none): packets that could have been sampled, and samples that the agent had no room for.
    datagrams
        Datagrams of the agent that were lost, and that the collector left out, until the newest sample.
    """

    sequence: Sequence = field(default_factory=Sequence)
    anchors: list[list[int]] = field(default_factory=list)
    pool: int = -1
    drops: int = 0
    datagrams: list[int] = field(default_factory=lambda: [0, 0])

    def follow(self, number: int, datagrams: Sequence, received_ms: int, uptime_ms: int, port: int = 0) -> bool:
        """Follow the samples; whether this is the newest.

        What is missing was in datagrams that are missing: it is lost, or left out by the collector, as these are, by their numbers.
        """
        lost, spared = max(datagrams.lost - self.datagrams[0], 0), max(datagrams.spared - self.datagrams[1], 0)
        gap = signed(number - self.sequence.expected) if self.sequence.expected >= 0 else 0
        left_out = gap * spared // (lost + spared) if gap > 0 and spared else 0
        newest = self.sequence.take(number, 1, received_ms, uptime_ms, port=port, left_out=left_out)
        if newest:
            self.datagrams = [datagrams.lost, datagrams.spared]
        return newest

    def rate(self, number: int, pool: int, told: int, newest: bool) -> tuple[float, int]:
        """Packets that a sample stands for.

        Parameters
        ----------
        number, pool
            Of the sample: how many were taken, how many packets they were taken from.
        told
            The rate that the agent was told; 0: not known.
        newest
            The sample is not one that came late.
        """
        if newest:
            # a pool that goes backwards, or counts fewer packets than samples, was begun anew
            if self.pool >= 0 and signed(pool - self.pool) < 0:
                self.anchors = []
            self.pool = pool
            if not self.anchors:
                self.anchors = [[number, pool]]
            elif (number - self.anchors[-1][0]) % _SPAN >= _WINDOW:
                self.anchors = [self.anchors[-1], [number, pool]]
        taken = passed = 0
        if self.anchors:
            taken, passed = signed(number - self.anchors[0][0]), signed(pool - self.anchors[0][1])
        if taken >= _FEWEST and passed >= taken:
            return passed / taken, int(RateSource.POOL)
        if told > 0:
            return float(told), int(RateSource.HEADER)
        return 1.0, int(RateSource.UNKNOWN)


def option_rates(known: OptionData, samplers: NDArray[np.uint64], inputs: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Rates by what an exporter said in options records.

    Parameters
    ----------
    known
        What it said.
    samplers, inputs
        Sampler id and input interface of each record.

    Returns
    -------
    float64[n]
        0: it did not say.
    """
    rates = np.full(len(samplers), _rate_without_sampler(known))
    if known.by_interface:
        stated = looked_up(known.by_interface, inputs)
        rates = np.where(stated > 0, stated, rates)
    if known.samplers:
        stated = looked_up(known.samplers, samplers)
        rates = np.where(stated > 0, stated, np.where(samplers > 0, known.rate, rates))
    return rates


def _rate_without_sampler(known: OptionData) -> float:
    """Of a record that names no sampler: what was said of no sampler in particular, or of all of them alike."""
    if known.rate:
        return known.rate
    stated = set(known.samplers.values())
    return stated.pop() if len(stated) == 1 else 0.0


def looked_up(table: dict[int, Any], values: NDArray[Any], missing: Any = 0.0) -> NDArray[Any]:
    """The entry of ``table`` for each of ``values``; ``missing`` where there is none."""
    unique, index = np.unique(values, return_inverse=True)
    return np.asarray([table.get(int(v), missing) for v in unique])[index]
