"""The tables of the stores: the users' contract, and the mapping from records."""

from __future__ import annotations

import psycopg2
import pyarrow as pa
import pytest

from infra.config import Settings
from infra.errors import StoreError
from infra.sections import LakeSettings, PostgresSettings
from jobs.sinks import hot, lake, parquet, postgres, stores
from jobs.sinks.stores import QueryHandle, QueryStopped, StoreUnavailable
from schemas import alerts as alerts_schema
from schemas.flows import PREDICTION_SCHEMA
from schemas.network_flows import NETWORK_FLOWS
from schemas.packets import FLOWS
from tests.sinksdata import table

CONTRACT = [
    "timestamp",
    "flow_id",
    "src_ip",
    "dst_ip",
    "src_port",
    "dst_port",
    "protocol",
    "flow_duration",
    "total_fwd_packets",
    "total_backward_packets",
    "total_length_fwd_packets",
    "total_length_bwd_packets",
    "flow_bytes_per_sec",
    "flow_packets_per_sec",
    "flow_iat_mean",
    "fwd_iat_total",
    "bwd_iat_total",
    "fwd_psh_flags",
    "fwd_header_length",
    "fwd_packets_per_sec",
    "min_packet_length",
    "max_packet_length",
    "packet_length_mean",
    "packet_length_std",
    "packet_length_variance",
    "ack_flag_count",
    "average_packet_size",
    "predicted_label",
    "confidence_score",
    "model_version",
]


def test_hot_columns_are_the_contract_then_ours() -> None:
    assert list(NETWORK_FLOWS.types)[: len(CONTRACT)] == CONTRACT
    assert list(NETWORK_FLOWS.types)[len(CONTRACT) :] == ["attack_type", "community_id", "end_reason", "tcp_state", "sensor_id"]
    assert set(NETWORK_FLOWS.sources) <= set(PREDICTION_SCHEMA.names)


def test_hot_types_hold_what_the_records_hold() -> None:
    kinds = {"bigint": pa.types.is_integer, "double precision": pa.types.is_floating, "real": pa.types.is_floating}
    for column in NETWORK_FLOWS.columns:
        found = PREDICTION_SCHEMA.field(column.source).type
        for sql, fits in kinds.items():
            if column.sql.startswith(sql):
                assert fits(found), column


def test_alert_columns_are_the_contract() -> None:
    wanted = [
        "id",
        "timestamp",
        "src_ip",
        "dst_ip",
        "attack_type",
        "severity",
        "confidence",
        "action_taken",
        "details",
        "resolved_at",
        "resolved_by",
        "incident_id",
    ]
    ddl = alerts_schema.MIGRATIONS[1][0]
    assert all(f" {name} " in ddl for name in wanted)


def test_rows_of_both_stores_are_closed_records_only() -> None:
    rows = table([{"name": 1}, {"name": 2, "closed": False}, {"name": 3, "at": -86400 * 3}])
    assert hot.hot_rows(rows, FLOWS).num_rows == 2
    stored = parquet.lake_rows(rows, FLOWS)
    assert stored.schema.names == parquet.lake_schema(FLOWS).names
    assert [str(d) for d in stored["event_date"].to_pylist()] == ["2026-03-01", "2026-02-26"]


def test_database_away_is_told_from_refusal() -> None:
    settings = PostgresSettings(port=1, connect_timeout_s=1)
    with pytest.raises(StoreUnavailable, match=":1/flowlake"):
        postgres.connect(settings, "test")
    refusal = postgres._connect_error(psycopg2.OperationalError('FATAL:  password authentication failed for user "x"'), settings)
    assert isinstance(refusal, StoreError)
    assert "password authentication failed" in str(refusal)
    assert "\n" not in str(refusal)


def test_waiting_goes_on_until_the_store_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "FIRST_WAIT_S", 0.001)
    attempts: list[int] = []
    causes: list[str] = []

    def operation() -> str:
        attempts.append(1)
        if len(attempts) < 4:
            raise StoreUnavailable("away")
        return "done"

    assert stores.until_done(operation, QueryHandle("t"), store="s", on_wait=causes.append) == "done"
    assert causes == ["away"] * 3


def test_waiting_ends_with_the_query() -> None:
    handle = QueryHandle("t")
    handle.stop()

    def operation() -> None:
        raise StoreUnavailable("away")

    with pytest.raises(QueryStopped):
        stores.until_done(operation, handle, store="s")


def test_a_refusal_is_not_waited_for() -> None:
    def operation() -> None:
        raise StoreError("no")

    with pytest.raises(StoreError):
        stores.until_done(operation, QueryHandle("t"), store="s")


def test_lake_problems_are_told_apart() -> None:
    settings = Settings(lake=LakeSettings(path="/l"))
    assert isinstance(
        lake._problem(Exception("x\njava.io.IOException: No space left on device"), settings, settings.lake.path), StoreUnavailable
    )
    denied = lake._problem(Exception("at a.b\njava.nio.file.AccessDeniedException: /l/_delta_log"), settings, settings.lake.path)
    assert isinstance(denied, StoreError)
    assert "AccessDeniedException" in str(denied)
    odd = ValueError("a bug")
    assert lake._problem(odd, settings, settings.lake.path) is odd
