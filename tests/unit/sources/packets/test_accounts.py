"""What the driver makes of the meter's accounts."""

from __future__ import annotations

import json

import pytest

from infra import config, metrics
from jobs.sources.packets import accounts
from jobs.sources.packets.accounts import Exporter
from schemas.accounts import SHARED_ID


def row(version: int, bucket: int, **counts: int) -> bytes:
    return json.dumps({"query": "q", "domain": "tap", "bucket": bucket, "version": version, **counts}).encode()


def test_two_sensors_of_one_id_are_told_once_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(accounts.LOG, "warning", lambda text, **fields: told.append((text, fields["domain"])))
    exporter = Exporter(config.load())
    before = metrics.REGISTRY.get_sample_value("flowlake_shared_id_messages_total", {"domain": "tap"}) or 0

    def take(value: bytes, *, new: bool) -> float:
        exporter.book.add(value)
        exporter.tell(new=new)
        return (metrics.REGISTRY.get_sample_value("flowlake_shared_id_messages_total", {"domain": "tap"}) or 0) - before

    assert take(row(1, 0, packets=5), new=True) == 0
    assert take(row(2, 0, packets=5, **{SHARED_ID: 3}), new=False) == 0  # of before this driver began
    assert told == []
    assert take(row(3, 0, packets=9, **{SHARED_ID: 4}), new=True) == 1
    assert take(row(3, 1, packets=9, **{SHARED_ID: 2}), new=True) == 3
    assert told == [("two live sensors have the same id; both are metered, but their records cannot be told apart", "tap")]
