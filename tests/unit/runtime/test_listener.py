"""Progress reports become metrics."""

from __future__ import annotations

from infra import metrics
from jobs.runtime import listener

PROGRESS = {
    "name": "t_meter",
    "batchId": 4,
    "batchDuration": 400,
    "numInputRows": 120,
    "inputRowsPerSecond": 300.0,
    "processedRowsPerSecond": "NaN",
    "stateOperators": [{"numRowsTotal": 10, "memoryUsedBytes": 1000}, {"numRowsTotal": 5, "memoryUsedBytes": 24}],
    "sources": [
        {
            "description": "KafkaV2[Subscribe[raw]]",
            "endOffset": '{"raw":{"0":100,"1":50}}',
            "latestOffset": {"raw": {"0": 130, "1": 50, "2": 7}},
        },
        {"description": "RateStreamV2", "endOffset": "17", "latestOffset": "20"},
    ],
}


def sample(name: str, **labels: str) -> float | None:
    return metrics.REGISTRY.get_sample_value(name, labels)


def test_record() -> None:
    listener.record(PROGRESS)
    listener.record(PROGRESS)
    assert sample("flowlake_input_rows_total", query="t_meter") == 240
    assert sample("flowlake_batches_total", query="t_meter") == 2
    assert sample("flowlake_batch_seconds_sum", query="t_meter") == 0.8
    assert sample("flowlake_kafka_lag_messages", query="t_meter", topic="raw") == 37
    assert sample("flowlake_state_rows", query="t_meter") == 15
    assert sample("flowlake_state_bytes", query="t_meter") == 1024
    assert sample("flowlake_processed_rows_per_second", query="t_meter") == 0


def test_what_a_query_has_refused_is_counted_by_reason() -> None:
    progress = {**PROGRESS, "name": "t_refusing", "observedMetrics": {"refused": {"json": 2, "row": None}, "other": {"json": 9}}}
    listener.record(progress)
    listener.record(progress)
    assert sample("flowlake_rejected_total", query="t_refusing", reason="json") == 4
    assert sample("flowlake_rejected_total", query="t_refusing", reason="row") is None


def test_lag_is_never_negative() -> None:
    assert listener.lag({"a": {"0": 5}}, {"a": {"0": 9}}) == {"a": 0}


def test_offsets_of_other_sources_are_none() -> None:
    assert [listener.offsets(v) for v in ("17", "null", None, "not json", 3, '["x"]')] == [{}] * 6
