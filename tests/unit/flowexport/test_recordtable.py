"""Decoded records as rows of the record type."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from jobs.flowexport.flowbatch import by_flow, marked, read
from jobs.flowexport.recordtable import FlowCollector, extra_texts, numbers, records
from schemas.exportedflows import EXPORTED_FLOWS, FEATURES, SCHEMA
from tests.unit.flowexport import wire

COLLECTOR = FlowCollector("collector", "site")


def rows(*payloads: bytes, buckets: int = 1, bench: wire.Collector | None = None, port: int = 2055) -> list[dict[str, object]]:
    """As the stream makes them."""
    made = []
    for piece in (bench or wire.Collector()).decoded(*payloads, port=port):
        for _, stream in by_flow(piece.flows, buckets):
            batch = read(marked(read(stream), np.zeros((read(stream).num_rows, 16), np.uint8)))
            columns = numbers(batch)
            table = records(batch, columns, COLLECTOR, columns["duplicate_of"], {})
            assert table.schema == SCHEMA
            made += table.to_pylist()
    return made


def test_a_record_says_what_its_exporter_said() -> None:
    (row,) = rows(wire.v5([wire.v5_record(size=5000, packets=10)], sequence=77, sampling=0x4000 | 100))
    assert {
        "exporter_ip": wire.EXPORTER,
        "export_protocol": "netflow-v5",
        "sequence": 77,
        "src_ip": "10.0.0.1",
        "dst_ip": "10.0.0.2",
        "next_hop": "10.0.0.254",
        "bgp_next_hop": None,
        "src_port": 1234,
        "dst_port": 80,
        "protocol": 6,
        "tcp_flags": 0x1B,
        "bytes": 5000,
        "packets": 10,
        "scaled_bytes": 500_000,
        "sampling_rate": 100.0,
        "sampling_source": "header",
        "src_as": 64500,
        "input_interface": 3,
        "duplicate_of": None,
        "extra": None,
        "icmp_type": None,
        "sensor_id": "collector",
        "domain": "site",
        "duration": 4.0,
        "bytes_per_packet": 500.0,
        "packets_per_sec": 250.0,
        "syn": 1,
        "rst": 0,
    }.items() <= row.items()
    assert row["end_time"] == datetime.fromtimestamp(wire.NOW - 0.75, UTC)


def test_the_id_is_that_of_the_record_wherever_it_is_decoded() -> None:
    payload = wire.v5([wire.v5_record(f"10.0.0.{n}") for n in range(1, 31)])
    once, again = rows(payload), rows(payload, buckets=4)
    ids = [str(row["flow_id"]) for row in once]
    assert len(set(ids)) == 30
    assert sorted(ids) == sorted(str(row["flow_id"]) for row in again)
    assert {uuid.UUID(one).version for one in ids} == {8}
    assert ids[0] not in {row["flow_id"] for row in rows(wire.v5([wire.v5_record()], sequence=1))}


@pytest.mark.parametrize(
    "payload", [wire.v5([wire.v5_record()]), wire.v9(wire.templates9(wire.template(256, wire.PLAIN)), wire.data(256, wire.plain()))]
)
def test_exporters_told_apart_by_their_port_share_no_id(payload: bytes) -> None:
    """Two behind one address, with equal domain, second, sequence and place."""
    for by_port, different in ((True, 2), (False, 1)):
        bench = wire.Collector(by_port=by_port)
        ids = {row["flow_id"] for port in (2055, 40_000) for row in rows(payload, bench=bench, port=port)}
        assert len(ids) == different


def test_fields_without_a_column_are_kept_as_an_object() -> None:
    fields = (*wire.PLAIN, (6871, 4, 29305), (95, 2))
    payload = wire.ipfix(wire.templates10(wire.template(256, fields)), wire.data(256, wire.plain() + b"\1\2\3\4\0\5"))
    (row,) = rows(payload)
    extra = json.loads(str(row["extra"]))
    assert "01020304" in extra.values()


@pytest.mark.parametrize("first", [0, 1, 2])
def test_texts_of_a_part_of_a_map(first: int) -> None:
    made = pa.array([[("1", b"\1")], [], [("2", b"\2\3"), ("3", b"")]], pa.map_(pa.string(), pa.binary()))
    wanted = ['{"1":"01"}', None, '{"2":"0203","3":""}']
    assert extra_texts(made.slice(first)).to_pylist() == wanted[first:]


def test_what_a_model_reads_is_there() -> None:
    assert set(FEATURES) <= set(SCHEMA.names)
    assert EXPORTED_FLOWS.features is not None
