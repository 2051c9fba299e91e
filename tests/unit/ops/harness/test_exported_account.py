"""What was exported, and what of it is in each store."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from jobs.sources.netflow.exporting import ExportKind
from ops.harness.exported.account import COLUMNS, Volume, checks, exported, lost, once, stored
from ops.harness.exported.routers import Router
from schemas.exportedflows import EXPORTED_FLOWS

SCHEMA = pa.schema([EXPORTED_FLOWS.schema.field(name) for name in COLUMNS])
ACCOUNT = dict.fromkeys(("thinned", "limited", "dropped", "refused", "unsent", "kernel_dropped"), 0)


def router(records: int = 3) -> Router:
    summary = {"records": records, "packets": 10 * records, "bytes": 1000 * records, "datagrams": 2}
    return Router("edge", ExportKind.V9, "netflow-v9", summary=summary)


def rows(n: int = 3, first: int = 0, **more: Any) -> pa.Table:
    row: dict[str, Any] = dict.fromkeys(COLUMNS, 0) | {"exporter_ip": "127.0.0.1", "export_protocol": "netflow-v9", "duplicate_of": None}
    row |= {"service": "", "bytes": 900, "reverse_bytes": 100, "packets": 10, "scaled_bytes": 1000, **more}
    return pa.Table.from_pylist([row | {"flow_id": f"{first + i:036}"} for i in range(n)], SCHEMA)


def made(**stores: pa.Table) -> dict[str, bool]:
    found = checks([router()], stores, {"received": 2, "sent": 2, **ACCOUNT}, {"127.0.0.1": 0})
    return {check.name: check.closes for check in found}


def test_all_closes() -> None:
    assert exported(router()) == stored(rows(), router()) == Volume(3, 30, 3000)
    assert set(made(topic=rows(), lake=rows()).values()) == {True}


@pytest.mark.parametrize("other", [rows(2), rows(4), rows(bytes=901), rows(exporter_ip="192.0.2.9")])
def test_a_store_that_says_something_else_is_told(other: pa.Table) -> None:
    assert not made(topic=rows(), lake=other)["edge"]


def test_other_ids_or_one_twice_are_told() -> None:
    assert not made(topic=rows(), lake=rows(first=1))["ids"]
    assert not made(topic=pa.concat_tables([rows(2), rows(1)]))["ids"]


def test_datagrams_that_did_not_come_and_what_sequence_numbers_miss_are_told() -> None:
    (datagrams, *_) = checks([router()], {"topic": rows()}, {"received": 1, "sent": 1, **ACCOUNT}, {})
    assert not datagrams.closes
    found = {check.name: check for check in checks([router()], {"topic": rows()}, {"received": 2, "sent": 2, **ACCOUNT}, {"a": 4})}
    assert not found["sequence numbers"].closes
    assert found["sequence numbers"].text.startswith("4 lost")


def test_the_newest_account_of_an_exporter_counts() -> None:
    about = {"bucket": 0, "exporter": "192.0.2.1", "sender": "192.0.2.1", "export_protocol": "ipfix", "exporter_domain": 1}
    line = {**about, "lost_samples": 0, "waiting_sets": 0}
    text = "\n".join(json.dumps({**line, "version": version, "lost": n}) for version, n in ((9, 2), (10, 3)))
    assert lost([text.encode(), json.dumps({"exporter": "", "unknown_version": 4, "version": 1}).encode()]) == {"192.0.2.1": 3}


def test_duplicates_are_in_no_sum() -> None:
    both = pa.concat_tables([rows(), rows(2, first=3, duplicate_of="192.0.2.1")])
    assert once(both) == {"records": 5, "duplicates": 2, "scaled_bytes": 3000, "scaled_bytes_of_all": 5000}
