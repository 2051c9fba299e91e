"""Percentiles and histograms of delays."""

from __future__ import annotations

import pytest

from ops.harness import latency


def test_percentiles_are_values_that_occurred():
    values = [float(n) for n in range(1, 101)]
    assert latency.percentiles(values) == {"p50": 51.0, "p99": 100.0}


def test_one_value_is_both():
    assert latency.percentiles([7.26]) == {"p50": 7.3, "p99": 7.3}


def test_nothing_measured_is_null_and_not_zero():
    assert latency.percentiles([]) == {"p50": None, "p99": None}
    assert latency.summary([])["n"] == 0


@pytest.mark.parametrize("values", [[5.0], [0.0, 0.0], [1.0, 10.0, 100.0, 90_000.0], [-3.0, 12.0]])
def test_every_value_is_in_some_bin(values: list[float]):
    edges, counts = latency.histogram(values)
    assert sum(counts) == len(values)
    assert len(edges) == len(counts) + 1
    assert edges == sorted(edges)


def test_histogram_of_nothing_is_empty():
    assert latency.histogram([]) == ([], [])
