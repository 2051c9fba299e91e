"""Python shown in the documentation does what the page says, as far as no server is needed."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from jobs.metering.digest import Digester, KafkaMessage
from jobs.metering.layout import Digest
from jobs.moving.times import TimeReading
from jobs.sources.features.convert import Reading, check
from jobs.sources.features.message import FeatureMessage, take_apart
from jobs.sources.features.rows import GivenRows
from jobs.sources.features.topic import FLOW_FEATURES
from schemas.flows import PREDICTION_SCHEMA
from schemas.wire import CONTENT_JSON, Header

HOW_TO = Path(__file__).resolve().parents[3] / "docs" / "how-to"


def python_blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (HOW_TO / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def value_of(field: pa.Field, label: str) -> Any:
    known = {"attack_type": label, "predicted_label": int(label != "BENIGN"), "flow_duration": 2_000_000}
    if field.name in known:
        return known[field.name]
    if pa.types.is_timestamp(field.type):
        return datetime(2026, 1, 5, tzinfo=UTC)
    return "x" if pa.types.is_string(field.type) else True if pa.types.is_boolean(field.type) else 1


def test_lake_examples_read_a_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    labels = ["BENIGN", "SYN_SCAN", "SYN_SCAN"]
    columns = {f.name: pa.array([value_of(f, label) for label in labels], f.type) for f in PREDICTION_SCHEMA}
    columns["event_date"] = pa.array([date(2026, 1, 5)] * len(labels))
    monkeypatch.chdir(tmp_path)
    Path("var/lake").mkdir(parents=True)
    write_deltalake("var/lake/flows", pa.table(columns), partition_by=["event_date"])
    by_duckdb, by_pandas, without_flowlake = python_blocks("query-the-stores.md")
    exec(by_duckdb, {})
    assert re.search(r"SYN_SCAN\s*│\s*2\s*│\s*2\.0", capsys.readouterr().out)
    names: dict[str, Any] = {}
    exec(by_pandas, names)
    assert names["frame"]["attack_type"].tolist() == ["SYN_SCAN", "SYN_SCAN"]
    capsys.readouterr()
    exec(without_flowlake, {})
    assert capsys.readouterr().out == "3\n"


def sent_by(page: str) -> tuple[str, bytes, list[tuple[str, bytes]]]:
    """The one message that the example of a page sends: topic, value, headers."""
    (text,) = python_blocks(page)
    sent: list[tuple[str, bytes, list[tuple[str, bytes]]]] = []

    class Producer:
        def __init__(self, **_: Any) -> None:
            pass

        def send(self, topic: str, value: bytes, headers: list[tuple[str, bytes]]) -> None:
            sent.append((topic, value, headers))

        def flush(self) -> None:
            pass

    exec(text.replace("from kafka import KafkaProducer", ""), {"KafkaProducer": Producer})
    (message,) = sent
    return message


def test_features_example_is_a_flow_that_is_taken() -> None:
    topic, value, headers = sent_by("score-features-of-others.md")
    assert topic == FLOW_FEATURES.name
    message = FeatureMessage(value, dict(headers), topic, 0, 0)
    (rows,) = take_apart([message], 10)
    assert isinstance(rows, GivenRows)
    read = Reading(TimeReading("UTC", True), ("flow_duration", "flow_packets_per_sec", "down_up_ratio", "flow_iat_max"))
    checked = check(rows, read)
    assert checked.refused == {}
    assert checked.numbers["flow_packets_per_sec"].values.tolist() == [16.0]


def test_json_example_is_a_packet_the_meter_takes() -> None:
    topic, value, headers = sent_by("send-json.md")
    assert topic == "raw-packets"
    assert dict(headers) == {Header.CONTENT_TYPE: CONTENT_JSON.encode()}
    digester = Digester(1, 2 * 10**9)
    digester.add(KafkaMessage(value, dict(headers), 0, 0, 0))
    assert digester.refused == []
    ((_, blob),) = digester.finish()
    digest = Digest.decode(blob)
    (envelope,), packets = digest.envelopes, digest.packets
    assert (envelope.sensor, envelope.rejected, len(packets)) == ("lab", {}, 1)
    assert int(packets["dport"][0]) == 53
