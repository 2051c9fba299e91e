"""What a benchmark makes of its samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.errors import ConfigError
from ops.bench import stream
from ops.cli.bench import streaming
from ops.cli.bench.telling import rows


def test_slope_is_the_growth_of_the_lag_after_the_warm_up():
    at = [float(t) for t in range(60)]
    lag = [100_000 - 4000 * t if t < 20 else 500 + 250 * t for t in range(60)]
    assert stream.slope(at, lag, 20) == pytest.approx(250.0)


def test_a_flat_lag_has_no_slope_and_few_samples_have_none_to_tell():
    assert stream.slope([1.0, 2.0, 3.0, 4.0, 5.0], [7, 7, 7, 7, 7], 0) == pytest.approx(0.0, abs=1e-6)
    assert stream.slope([1.0, 2.0], [1, 2], 0) is None
    assert stream.slope([1.0, 2.0, 3.0, 4.0, 5.0], [1, 2, 3, 4, 5], 3) is None


def test_lag_is_sent_minus_accounted_for():
    assert stream.Samples(at=[1.0, 2.0], sent=[10, 30], done=[4, 30]).lag() == [6, 0]


def test_what_is_worked_off_steadily_leaves_the_start_out():
    slow_start = [0] * 10 + [1000 * t for t in range(20)]
    assert stream.steadily(stream.Samples(at=[float(t) for t in range(30)], done=slow_start)) == 1.0
    assert stream.steadily(stream.Samples(at=[1.0, 2.0], done=[1, 2])) is None


def test_what_is_worked_off_steadily_is_counted_from_batch_to_batch():
    batches = [0] * 10 + [9000] * 9 + [18000] * 9 + [27000] * 2  # of nine seconds; the one under way at the end says nothing
    assert stream.steadily(stream.Samples(at=[float(t) for t in range(30)], done=batches)) == 1.0


def test_batches_without_rows_do_not_count(tmp_path: Path):
    file = tmp_path / "batches.jsonl"
    lines = [
        {"query": "meter", "rows": 0, "ms": {"triggerExecution": 9000}},
        {"query": "meter", "rows": 5, "ms": {"triggerExecution": 100, "addBatch": 80}},
        {"query": "meter", "rows": 5, "ms": {"triggerExecution": 300, "addBatch": 120}},
        {"query": "hot", "rows": 1, "ms": {"triggerExecution": 40}},
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = stream.read_batches(file)
    assert (found["meter"]["n"], found["meter"]["max"]) == (2, 300.0)
    assert found["meter"]["phases_mean"] == {"triggerExecution": 200.0, "addBatch": 100.0}
    assert found["hot"]["n"] == 1
    assert stream.read_batches(tmp_path / "none") == {}


def test_rows_of_the_table_name_nested_values_and_leave_long_lists_out():
    found = dict(rows({"rate_kpps": 100.0, "rows": {"lake": 1234}, "lag": list(range(100)), "nothing": None, "closes": True}))
    assert found == {"rate kpps": "100.0", "rows, lake": "1,234", "closes": "True"}


def test_the_peer_is_measured_at_one_rate():
    with pytest.raises(ConfigError, match="--find and --peer"):
        streaming.stream(find=True, peer=True)
