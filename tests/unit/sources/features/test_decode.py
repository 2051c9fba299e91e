"""Messages of flows that others have computed: what is read of them, what is refused, and that nothing makes the step fail."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeClassifier

from jobs.moving.times import TimeReading
from jobs.scoring.model import ScoringModel
from jobs.sources.features import publish as step
from jobs.sources.features.convert import reading_of
from jobs.sources.features.names import column_of
from jobs.sources.features.topic import CONTENT_ARROW
from schemas.features import FEATURES
from schemas.flows import PREDICTION_SCHEMA
from schemas.packets import FLOWS
from schemas.wire import CONTENT_JSON, KIND_HEARTBEAT, Header, arrow_stream

READS = ("flow_duration", "flow_bytes_per_sec", "bwd_iat_std")
#: A flow as CICFlowMeter says it, in few columns.
FLOW: dict[str, Any] = {
    "Flow ID": "192.0.2.1-192.0.2.2-40000-80-6",
    "Src IP": "192.0.2.1",
    "Src Port": 40000,
    "Dst IP": "192.0.2.2",
    "Dst Port": 80,
    "Protocol": 6,
    "Timestamp": "06/07/2017 12:39:06 PM",
    "Flow Duration": 2_000_000,
    "Total Fwd Packet": 3,
    "Total Bwd packets": 1,
    "Total Length of Fwd Packet": 300,
    "Total Length of Bwd Packet": 100,
    "Bwd IAT Std": 0.5,
    "Label": "NeedManualLabel",
}
_HEADERS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
_KAFKA = pa.schema(
    [("value", pa.binary()), ("headers", _HEADERS), ("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64())]
)
Letter = tuple[str, bytes, dict[str, int]]


def kafka_row(value: bytes | None, headers: dict[str, str], offset: int) -> dict[str, Any]:
    pairs = [{"key": name, "value": text.encode()} for name, text in headers.items()]
    return {"value": value, "headers": pairs or None, "topic": "flow-features", "partition": 1, "offset": offset}


@pytest.fixture(scope="module")
def champion() -> ScoringModel:
    tree = DecisionTreeClassifier(random_state=1).fit(np.arange(60).reshape(20, 3), ["BENIGN", "SYN_SCAN"] * 10)
    return ScoringModel.from_estimator(tree, FLOWS, columns=READS, threshold=0.5, feature_version="1", version="7")


@pytest.fixture(scope="module")
def run(champion: ScoringModel) -> Any:
    """The step over some messages: the rows that it publishes, and the letters (reason, value, counts)."""

    def call(*messages: tuple[bytes | None, dict[str, str]], max_rows: int = 1000) -> tuple[list[dict[str, Any]], list[Letter]]:
        kafka = pa.RecordBatch.from_pylist([kafka_row(value, headers, 10 + n) for n, (value, headers) in enumerate(messages)], _KAFKA)
        about = step.Step("id", "features", "", reading_of(READS, "7", TimeReading("UTC", True)), max_rows)
        rows, letters = [], []
        for batch in step.publish([kafka], champion, about):
            (sent,) = batch.to_pylist()
            topic, value, headers, refused = (sent[name] for name in ("topic", "value", "headers", "refused"))
            if topic == "predictions":
                table = pa.ipc.open_stream(value).read_all()
                assert table.schema.equals(PREDICTION_SCHEMA)
                table.validate(full=True)
                rows += table.to_pylist()
            else:
                reason = next(pair["value"].decode() for pair in headers if pair["key"] == "reason")
                counts = dict(refused)
                assert set(counts) <= set(step.CODES)
                letters.append((reason, value, counts))
        return rows, letters

    return call


def as_json(*flows: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    return json.dumps(flows[0] if len(flows) == 1 else list(flows)).encode(), {Header.CONTENT_TYPE: CONTENT_JSON}


SHORT = {
    "src": "Src IP",
    "dst": "Dst IP",
    "port": "Dst Port",
    "protocol": "Protocol",
    "time": "Timestamp",
    "duration": "Flow Duration",
    "std": "Bwd IAT Std",
    "rate": "Flow Bytes/s",
}


def changed(**columns: Any) -> dict[str, Any]:
    flow = {**FLOW, **{SHORT.get(name, name): value for name, value in columns.items()}}
    return {name: value for name, value in flow.items() if value is not ...}


def test_a_flow_with_few_columns_is_whole(run: Any) -> None:
    (row,), letters = run(as_json(FLOW))
    assert letters == []
    assert row["start_time"] == datetime(2017, 7, 6, 12, 39, 6, tzinfo=UTC)
    assert row["end_time"] == datetime(2017, 7, 6, 12, 39, 8, tzinfo=UTC)
    assert (row["src_ip"], row["dst_port"], row["ip_version"], row["protocol"]) == ("192.0.2.1", 80, 4, 6)
    assert row["flow_bytes_per_sec"] == 200.0, "follows from bytes and duration"
    assert (row["average_packet_size"], row["down_up_ratio"]) == (100.0, 1 / 3)
    assert (row["flow_iat_max"], row["icmp_type"]) == (0, -1), "what nobody reads and nobody knows"
    assert (row["closed"], row["end_reason"], row["part"], row["feature_version"]) == (True, None, 0, "cicflowmeter")
    assert (row["sensor_id"], row["domain"], row["model_version"]) == ("flow-features", "flow-features", "7")
    assert row["community_id"].startswith("1:")


OLD_NAMES = """
Flow Duration; Total Fwd Packets; Total Backward Packets; Total Length of Fwd Packets; Total Length of Bwd Packets;
Fwd Packet Length Max; Fwd Packet Length Min; Fwd Packet Length Mean; Fwd Packet Length Std; Bwd Packet Length Max;
Bwd Packet Length Min; Bwd Packet Length Mean; Bwd Packet Length Std; Flow Bytes/s; Flow Packets/s; Flow IAT Mean;
Flow IAT Std; Flow IAT Max; Flow IAT Min; Fwd IAT Total; Fwd IAT Mean; Fwd IAT Std; Fwd IAT Max; Fwd IAT Min;
Bwd IAT Total; Bwd IAT Mean; Bwd IAT Std; Bwd IAT Max; Bwd IAT Min; Fwd PSH Flags; Bwd PSH Flags; Fwd URG Flags;
Bwd URG Flags; Fwd Header Length; Bwd Header Length; Fwd Packets/s; Bwd Packets/s; Min Packet Length;
Max Packet Length; Packet Length Mean; Packet Length Std; Packet Length Variance; FIN Flag Count; SYN Flag Count;
RST Flag Count; PSH Flag Count; ACK Flag Count; URG Flag Count; CWE Flag Count; ECE Flag Count; Down/Up Ratio;
Average Packet Size; Avg Fwd Segment Size; Avg Bwd Segment Size; Fwd Avg Bytes/Bulk; Fwd Avg Packets/Bulk;
Fwd Avg Bulk Rate; Bwd Avg Bytes/Bulk; Bwd Avg Packets/Bulk; Bwd Avg Bulk Rate; Subflow Fwd Packets;
Subflow Fwd Bytes; Subflow Bwd Packets; Subflow Bwd Bytes; Init_Win_bytes_forward; Init_Win_bytes_backward;
act_data_pkt_fwd; min_seg_size_forward; Active Mean; Active Std; Active Max; Active Min; Idle Mean; Idle Std;
Idle Max; Idle Min
"""
SHORT_NAMES = """
Flow Duration; Tot Fwd Pkts; Tot Bwd Pkts; TotLen Fwd Pkts; TotLen Bwd Pkts; Fwd Pkt Len Max; Fwd Pkt Len Min;
Fwd Pkt Len Mean; Fwd Pkt Len Std; Bwd Pkt Len Max; Bwd Pkt Len Min; Bwd Pkt Len Mean; Bwd Pkt Len Std;
Flow Byts/s; Flow Pkts/s; Flow IAT Mean; Flow IAT Std; Flow IAT Max; Flow IAT Min; Fwd IAT Tot; Fwd IAT Mean;
Fwd IAT Std; Fwd IAT Max; Fwd IAT Min; Bwd IAT Tot; Bwd IAT Mean; Bwd IAT Std; Bwd IAT Max; Bwd IAT Min;
Fwd PSH Flags; Bwd PSH Flags; Fwd URG Flags; Bwd URG Flags; Fwd Header Len; Bwd Header Len; Fwd Pkts/s; Bwd Pkts/s;
Pkt Len Min; Pkt Len Max; Pkt Len Mean; Pkt Len Std; Pkt Len Var; FIN Flag Cnt; SYN Flag Cnt; RST Flag Cnt;
PSH Flag Cnt; ACK Flag Cnt; URG Flag Cnt; CWE Flag Count; ECE Flag Cnt; Down/Up Ratio; Pkt Size Avg;
Fwd Seg Size Avg; Bwd Seg Size Avg; Fwd Byts/b Avg; Fwd Pkts/b Avg; Fwd Blk Rate Avg; Bwd Byts/b Avg;
Bwd Pkts/b Avg; Bwd Blk Rate Avg; Subflow Fwd Pkts; Subflow Fwd Byts; Subflow Bwd Pkts; Subflow Bwd Byts;
Init Fwd Win Byts; Init Bwd Win Byts; Fwd Act Data Pkts; Fwd Seg Size Min; Active Mean; Active Std; Active Max;
Active Min; Idle Mean; Idle Std; Idle Max; Idle Min
"""
#: Features that these two do not have.
LATER = {"fwd_rst_flags", "bwd_rst_flags", "icmp_code", "icmp_type", "total_tcp_flow_time"}


@pytest.mark.parametrize("names", [OLD_NAMES, SHORT_NAMES, SHORT_NAMES.lower().replace("/", "_")])
def test_every_spelling_is_known(names: str) -> None:
    listed = [name.strip() for name in names.split(";")]
    found = [column_of(name) for name in [*listed, *(name.replace(" ", "_") for name in listed)]]
    wanted = [feature.name for feature in FEATURES if feature.name not in LATER]
    assert [column[0] for column in found if column] == 2 * wanted


@pytest.mark.parametrize(
    ("flow", "column", "value"),
    [
        (changed(time="2017-07-06 12:39:06.818901"), "start_time", datetime(2017, 7, 6, 12, 39, 6, 818901, tzinfo=UTC)),
        (changed(time="2017-07-06T14:39:06+02:00"), "start_time", datetime(2017, 7, 6, 12, 39, 6, tzinfo=UTC)),
        (changed(time="7/7/2017 3:30"), "start_time", datetime(2017, 7, 7, 3, 30, tzinfo=UTC)),
        (changed(time=1_499_344_746.5), "start_time", datetime(2017, 7, 6, 12, 39, 6, 500_000, tzinfo=UTC)),
        (changed(time=1_499_344_746_500), "start_time", datetime(2017, 7, 6, 12, 39, 6, 500_000, tzinfo=UTC)),
        (changed(rate="Infinity"), "flow_bytes_per_sec", 0.0),
        (changed(rate=math.nan), "flow_bytes_per_sec", 0.0),
        (changed(rate=""), "flow_bytes_per_sec", 200.0),
        (changed(rate=None), "flow_bytes_per_sec", 200.0),
        (changed(duration="2000000.0"), "flow_duration", 2_000_000),
        (changed(protocol="tcp"), "protocol", 6),
        (changed(src="2001:DB8::1", dst="2001:db8:0:0::2"), "src_ip", "2001:db8::1"),
        (changed(src="2001:DB8::1", dst="2001:db8:0:0::2"), "ip_version", 6),
        (changed(protocol=1, port=...), "dst_port", 0),
        (changed(Init_Win_bytes_forward=-1), "fwd_init_win_bytes", 0),
        (changed(**{"Fwd Header Length": -65000}), "fwd_header_length", 0),
        (changed(**{"Fwd Header Length": "-65000"}), "fwd_header_length", 0),
        (changed(closed=False, end_reason="idle"), "end_reason", None),
        (changed(closed="false"), "closed", False),
        (changed(flow_id="0123456A-0000-8000-8000-00000000000B"), "flow_id", "0123456a-0000-8000-8000-00000000000b"),
        (changed(duration=..., end_time="2017-07-06T12:39:09Z"), "flow_duration", 3_000_000),
        (changed(sensor_id="probe 1"), "domain", "probe 1"),
        (changed(unknown={"a": [1]}, **{"x" * 1000: 1}), "flow_duration", 2_000_000),
    ],
)
def test_what_is_read(run: Any, flow: dict[str, Any], column: str, value: Any) -> None:
    (row,), letters = run(as_json(flow))
    assert letters == []
    assert row[column] == value


@pytest.mark.parametrize(
    ("flow", "reason"),
    [
        (changed(std=...), "missing: bwd_iat_std (Bwd IAT Std), which the champion (version 7) reads"),
        (changed(src=..., std=None), "missing: src_ip (Src IP), bwd_iat_std (Bwd IAT Std), which the champion (version 7) reads"),
        (changed(port=...), "missing: dst_port (Dst Port)"),
        (changed(std=math.inf), "value: bwd_iat_std (Bwd IAT Std): not finite"),
        (changed(std="much"), "value: bwd_iat_std (Bwd IAT Std): not a number"),
        (changed(std=[1]), "value: bwd_iat_std (Bwd IAT Std): not a number"),
        (changed(std=True), "value: bwd_iat_std (Bwd IAT Std): not a number"),
        (changed(duration=-1), "value: flow_duration (Flow Duration): out of range"),
        (changed(duration=10**30), "value: flow_duration (Flow Duration): out of range"),
        (changed(port=70000), "value: dst_port (Dst Port): out of range"),
        (changed(src="192.0.2.300"), "value: src_ip (Src IP): not an IP address"),
        (changed(src="::1"), "value: dst_ip (Dst IP): of another version of IP than the source"),
        (changed(time="yesterday"), "value: start_time (Timestamp): not a time"),
        (changed(time="31/06/2017 10:00:00"), "value: start_time (Timestamp): not a time"),
        (changed(time=12), "value: start_time (Timestamp): before 1990"),
        (changed(time="2100-01-01"), "value: start_time (Timestamp): not a time"),
        (changed(time="2100-01-01T00:00:00Z"), "value: start_time (Timestamp): in the future"),
        (changed(end_time="2017-07-06T12:39:05Z"), "value: end_time: before the start"),
        (changed(feature_version="9"), "value: feature_version: of another version than ours, 1"),
        (changed(sensor_id="a\0b"), "value: sensor_id: control characters in a text"),
        (changed(sensor_id="\ud800" + "x" * 300), "value: sensor_id: a text of more than 256 bytes"),
        (changed(closed="perhaps"), "value: closed: not true or false"),
    ],
)
def test_what_is_refused_with_its_name(run: Any, flow: dict[str, Any], reason: str) -> None:
    message = as_json(flow)
    rows, ((told, value, counts),) = run(message)
    assert rows == []
    assert told.startswith(reason)
    assert value == message[0]
    assert counts == {reason.split(":")[0]: 1}


def test_a_bad_row_concerns_no_other(run: Any) -> None:
    rows, ((reason, value, counts),) = run(as_json(FLOW, changed(std="x"), changed(port=443), changed(port=...)))
    assert [row["dst_port"] for row in rows] == [80, 443]
    assert reason == (
        "value: bwd_iat_std (Bwd IAT Std): not a number (2 of 4 rows refused, the first is row 2; also missing: dst_port (Dst Port))"
    )
    assert [json.loads(line) for line in value.splitlines()] == [changed(std="x"), changed(port=...)]
    assert counts == {"value": 1, "missing": 1}


def test_lines_are_refused_alone(run: Any) -> None:
    good = json.dumps(FLOW).encode()
    for headers in ({}, {Header.CONTENT_TYPE: "application/x-ndjson"}, {Header.CONTENT_TYPE: "application/json; charset=utf-8"}):
        rows, ((reason, value, _),) = run((b"\xef\xbb\xbf" + good + b"\r\n\r\n{broken\n3\n" + good, headers))
        assert len(rows) == 2
        assert reason.startswith("json: ")
        assert value.splitlines() == [b"{broken", b"3"]


def test_arrow_and_json_say_the_same(run: Any) -> None:
    text = {name: str(value) for name, value in FLOW.items()}
    coded = pa.table({name: pa.array([value]).dictionary_encode() if isinstance(value, str) else [value] for name, value in FLOW.items()})
    timed = pa.table({**{name: [value] for name, value in FLOW.items()}, "Timestamp": pa.array([1_499_344_746], pa.timestamp("s"))})
    small = pa.table(
        {
            **{name: [value] for name, value in FLOW.items()},
            "Src Port": pa.array([40000], pa.uint16()),
            "Protocol": pa.array([6], pa.int8()),
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, small.schema) as writer:
        writer.write(small)
    (wanted,), _ = run(as_json(FLOW))
    for value, headers in (
        (arrow_stream(pa.table({name: [value] for name, value in text.items()})), {}),
        (arrow_stream(coded), {Header.CONTENT_TYPE: CONTENT_ARROW}),
        (arrow_stream(timed), {}),
        (arrow_stream(small), {Header.CONTENT_TYPE: "Application/vnd.apache.arrow.stream; v=1"}),
        (sink.getvalue().to_pybytes(), {}),
    ):
        (row,), letters = run((value, headers))
        assert letters == []
        assert {**row, "scored_at": None} == {**wanted, "scored_at": None}


def test_bad_rows_of_arrow_come_back_as_arrow(run: Any) -> None:
    table = pa.Table.from_pylist([FLOW, {**FLOW, "Src IP": "nobody"}, FLOW])
    rows, ((reason, value, _),) = run((arrow_stream(table.combine_chunks()), {}))
    assert len(rows) == 2
    assert reason.startswith("value: src_ip (Src IP): not an IP address (1 of 3 rows refused, the first is row 2")
    again = pa.ipc.open_stream(value).read_all()
    assert again.num_rows == 1
    assert run((value, {}))[1][0][0] == "value: src_ip (Src IP): not an IP address"


@pytest.mark.parametrize(
    ("value", "headers", "reason"),
    [
        (None, {}, "empty: "),
        (b"", {Header.CONTENT_TYPE: CONTENT_JSON}, "empty: "),
        (b"hello", {}, "content-type: none"),
        (b"{}", {Header.CONTENT_TYPE: "text/csv"}, "content-type: 'text/csv'"),
        (b"{", {}, "json: "),
        (b"[1, 2]", {}, "json: expected an object, found int"),
        (b"3", {Header.CONTENT_TYPE: CONTENT_JSON}, "json: expected an object, found int"),
        (b"[" * 100_000, {}, "json: "),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, {}, "json: too deeply nested"),
        (b"\xff\xfe\x00", {Header.CONTENT_TYPE: CONTENT_JSON}, "json: "),
        (b"9" * 5000, {Header.CONTENT_TYPE: CONTENT_JSON}, "json: "),
        (b"[" + b"{}," * 1000 + b"{}]", {}, "rows: 1,001 in a message, at most 1,000"),
        (b"{}", {}, "missing: src_ip (Src IP), dst_ip (Dst IP), src_port (Src Port)"),
        (b"\xff\xff\xff\xff\x00", {}, "arrow: "),
        (b"ARROW1\x00\x00", {}, "arrow: "),
        (b"x", {Header.CONTENT_TYPE: CONTENT_ARROW}, "arrow: "),
        (arrow_stream(pa.table({"a": [1], "b": [2]})), {}, "schema: none of its 2 columns is one of a flow: 'a', 'b'"),
        (arrow_stream(pa.table({"Src IP": [["a"]]})), {}, "schema: column 'Src IP' is list"),
        (arrow_stream(pa.table({"Src IP": pa.array(["x" * 2000]).dictionary_encode()})), {}, "schema: column 'Src IP' holds a text"),
        (arrow_stream(pa.table({"Src Port": range(1001)})), {}, "rows: more than 1,000"),
        (arrow_stream(pa.table({"Src IP": pa.nulls(1 << 20), "Src Port": pa.nulls(1 << 20)})), {}, "rows: more than 1,000"),
        (b" " * (11 << 20), {}, "size: 11,534,336 bytes"),
    ],
    ids=range(22),
)
def test_what_is_refused_whole(run: Any, value: bytes | None, headers: dict[str, str], reason: str) -> None:
    rows, ((told, kept, counts),) = run((value, headers))
    assert rows == []
    assert told.startswith(reason)
    assert (value or b"").startswith(kept)
    assert counts == {reason.split(":")[0]: 1}


def test_nothing_is_said_of_what_says_nothing(run: Any) -> None:
    empty = pa.table({"Src IP": pa.array([], pa.string())})
    assert run((b"", {Header.KIND: KIND_HEARTBEAT}), (b"[]", {}), (arrow_stream(empty), {})) == ([], [])


def test_who_says_it_is_in_the_header_or_in_the_row(run: Any) -> None:
    headers = {Header.CONTENT_TYPE: CONTENT_JSON, Header.SENSOR: "probe", Header.DOMAIN: "site"}
    rows, _ = run((as_json(FLOW, changed(sensor_id="other"), changed(domain="here"))[0], headers))
    assert [(row["sensor_id"], row["domain"]) for row in rows] == [("probe", "site"), ("other", "site"), ("probe", "here")]
    assert len({row["flow_id"] for row in rows}) == 3


def test_a_flow_keeps_its_id_and_another_has_another(run: Any) -> None:
    precise = changed(time="2017-07-06 12:39:06.818901")
    later = {**precise, "Flow Duration": 9, "Bwd IAT Std": 3}
    whole_seconds = {**FLOW, "Flow Duration": 9}
    ids = [run(as_json(flow))[0][0]["flow_id"] for flow in (precise, precise, later, FLOW, whole_seconds, changed(port=81))]
    assert ids[0] == ids[1] == ids[2], "key, start and sensor make it"
    assert len({*ids[2:]}) == 4, "a start in whole seconds does not tell flows apart"


def test_open_flows_and_closed_ones_are_apart(champion: ScoringModel) -> None:
    value = as_json(FLOW, changed(closed=False))[0]
    kafka = pa.RecordBatch.from_pylist([{"value": value, "headers": None, "topic": "t", "partition": 0, "offset": 4}])
    about = step.Step("id", "features", "p.", reading_of(READS, "7", TimeReading("UTC", True)), 10)
    sent = [batch.to_pylist()[0] for batch in step.publish([kafka], champion, about)]
    heads = [{pair["key"]: pair["value"].decode() for pair in row["headers"]} for row in sent]
    assert [row["topic"] for row in sent] == ["p.predictions"] * 2
    assert [(head["message-id"], head.get("snapshots-only")) for head in heads] == [("id/0/4/closed/0", None), ("id/0/4/open/0", "1")]


_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(["Infinity", "-inf", "1e400", "0x1", "::1"])
)
_NAMES = st.sampled_from([*FLOW, "flow_id", "end_time", "closed", "part", "Init_Win_bytes_forward", "Packet Length Std", "x"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.dictionaries(_NAMES, st.one_of(_SCALARS, st.lists(_SCALARS, max_size=2))), _SCALARS), min_size=1, max_size=6))
def test_no_json_makes_it_fail(run: Any, given_rows: list[Any]) -> None:
    full = [{**FLOW, **row} if isinstance(row, dict) else row for row in given_rows]
    rows, letters = run((json.dumps(full).encode(), {}))
    refused = sum(sum(counts.values()) for _, _, counts in letters)
    assert len(rows) + refused == len(full) or (not rows and refused == 1), "each row is a record, or is told"
    assert all(math.isfinite(row[name]) for row in rows for name in ("flow_bytes_per_sec", "packet_length_variance", "flow_iat_mean"))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 4000), st.sampled_from(["", CONTENT_JSON, CONTENT_ARROW]))
def test_no_bytes_make_it_fail(run: Any, noise: bytes, at: int, content: str) -> None:
    good = arrow_stream(pa.Table.from_pylist([FLOW, FLOW]))
    damaged = good[: at % len(good)] + noise + good[at % len(good) + len(noise) :]
    headers = {Header.CONTENT_TYPE: content} if content else {}
    for value in (noise, damaged):
        rows, letters = run((value, headers))
        assert len(letters) <= 1
        assert len(rows) <= 2
