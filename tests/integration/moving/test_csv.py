"""CSV files into the hot store and the lake: every row once, every line accounted for."""

from __future__ import annotations

import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from pydantic import SecretStr

from jobs.moving import csvfile
from jobs.runtime import lake
from schemas.packets import FLOWS
from tests.integration.moving.conftest import Mover
from tests.integration.sinkbench import run as sql
from tests.movingdata import T0, row, rows, text

pytestmark = pytest.mark.integration


def stored(mover: Mover) -> list[Any]:
    return sql(mover.settings.hot, "SELECT * FROM network_flows ORDER BY timestamp, flow_id")


def in_lake(mover: Mover) -> list[dict[str, Any]]:
    found = lake.dataset(lake.location(mover.settings, FLOWS)).to_table().to_pylist()
    return sorted(found, key=lambda r: (r["start_time"], r["flow_id"]))


def one(told: dict[str, Any]) -> dict[str, Any]:
    (found,) = told["files"]
    assert found["closes"]
    return dict(found)


def test_a_name_that_is_no_utf8(mover: Mover, tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"\xff\xfe.csv")
    file.write_text(text(rows(3)))
    code, out, err = mover("csv", file, "--into", "both")
    assert code == 0, err
    assert "\\xff\\xfe.csv: 4 lines" in out
    assert sql(mover.settings.hot, "SELECT DISTINCT sensor_id FROM network_flows") == [("migrated:\\xff\\xfe.csv",)]
    assert mover("compare", "--csv", file, "--from", "2026-03-01")[0] == 0
    assert one(mover.told("csv", file))["lines"] == 0, "it goes on where it was"


def test_rows_of_the_reference_into_both_stores(mover: Mover, tmp_path: Path) -> None:
    file = tmp_path / "live.csv"
    file.write_text(text(rows(500)))
    told = one(mover.told("csv", file, "--into", "both"))
    assert (told["lines"], told["rows"], told["headers"], told["rejected"]) == (501, 500, 1, 0)
    assert told["stores"]["hot"] == told["stores"]["lake"] == {"written": 500, "already_there": 0, "by_an_earlier_run": 0}
    assert told["labels"] == {"BENIGN": 400, "ATTACK": 100}
    assert told["first"] == "2026-03-01T12:00:00.000Z"
    kept = sql(
        mover.settings.hot,
        "SELECT timestamp, flow_duration, flow_bytes_per_sec, ack_flag_count, average_packet_size, predicted_label, "
        "confidence_score, model_version, host(src_ip), dst_port, sensor_id FROM network_flows ORDER BY timestamp LIMIT 1 OFFSET 10",
    )
    assert kept == [
        (T0.replace(second=10, microsecond=3), 310, 45.0, 328, 47.0, 1, pytest.approx(0.1), "migrated", "0.0.0.0", 0, "migrated:live.csv")
    ]
    flows = in_lake(mover)
    assert [str(r[1]) for r in stored(mover)] == [r["flow_id"] for r in flows]
    assert flows[10]["flow_duration"] == 310
    assert flows[10]["idle_max"] is None, "what the file does not say is unknown, not 0"
    assert (flows[10]["end_time"] - flows[10]["start_time"]).microseconds == 310


def test_a_second_run_and_a_copy_write_nothing(mover: Mover, tmp_path: Path) -> None:
    file, copy = tmp_path / "live.csv", tmp_path / "copy.csv.gz"
    file.write_text(text(rows(200)))
    copy.write_bytes(gzip.compress(file.read_bytes()))
    mover.told("csv", file, "--into", "both")
    before = stored(mover)
    assert one(mover.told("csv", file, "--into", "both"))["lines"] == 0, "it is not even read"
    for again in (one(mover.told("csv", file, "--into", "both", "--again")), one(mover.told("csv", copy, "--into", "both"))):
        assert again["stores"]["hot"] == again["stores"]["lake"] == {"written": 0, "already_there": 200, "by_an_earlier_run": 0}
    assert stored(mover) == before
    assert len(in_lake(mover)) == 200


def test_twins_in_a_file_are_records_of_their_own(mover: Mover, tmp_path: Path) -> None:
    file = tmp_path / "live.csv"
    line = text([row(3)], header=False)
    file.write_text(text(rows(3)) + line * 2)
    assert one(mover.told("csv", file, "--into", "both"))["stores"]["hot"]["written"] == 5
    with file.open("a") as out:
        out.write(line + text([row(4)], header=False))
    grown = one(mover.told("csv", file, "--into", "both"))
    assert (grown["lines"], grown["stores"]["hot"]["written"], grown["stores"]["lake"]["written"]) == (2, 2, 2), "the third twin is new"
    assert len(stored(mover)) == len(in_lake(mover)) == 7


def test_a_file_that_grows_is_read_to_its_last_whole_line(mover: Mover, tmp_path: Path) -> None:
    file = tmp_path / "live.csv"
    content = text(rows(20))
    file.write_text(content[:-9])
    told = one(mover.told("csv", file))
    assert (told["rows"], told["unfinished_last_line_bytes"] > 0) == (19, True)
    _, out, _ = mover("csv", file)
    assert "has no end yet" in out
    file.write_text(content + text(rows(5, 20), header=False))
    told = one(mover.told("csv", file))
    assert (told["rows"], told["resumed_at_byte"] > 0) == (6, True)
    file.write_text((content + text(rows(6, 20), header=False)).rstrip("\n"))
    assert one(mover.told("csv", file))["rows"] == 0
    assert one(mover.told("csv", file, "--final"))["rows"] == 1
    assert len(stored(mover)) == 26


def test_another_file_of_the_name_is_read_from_its_beginning(mover: Mover, tmp_path: Path) -> None:
    file = tmp_path / "live.csv"
    file.write_text(text(rows(50)))
    mover.told("csv", file, "--into", "both")
    file.write_text(text(rows(60, 1000)))
    told = one(mover.told("csv", file, "--into", "both"))
    assert (told["resumed_at_byte"], told["stores"]["hot"]["written"], told["stores"]["lake"]["written"]) == (0, 60, 60)


BAD = {
    "number of fields": b"2026-03-01T13:00:00,1,2,3\n",
    "quotes": text([row(1)], header=False).encode().replace(b",", b',"', 1),
    "NUL byte": text([row(2)], header=False).encode().replace(b".0", b"\0", 1),
    "not UTF-8": text([row(3)], header=False).encode().replace(b".0", b"\xff\xfe", 1),
    "start_time: not a time": text([row(4, Timestamp="yesterday")], header=False).encode(),
    "start_time: before 1990": text([row(5, Timestamp="0001-01-01T00:00:00")], header=False).encode(),
    "start_time: in the future": text([row(6, Timestamp="2999-01-01T00:00:00")], header=False).encode(),
    "flow_duration: out of range": text([row(7, Flow_Duration="1e30")], header=False).encode(),
    "total_fwd_packets: not a number": text([row(8, Total_Fwd_Packets="many")], header=False).encode(),
    "total_backward_packets: empty": text([row(9, Total_Backward_Packets="")], header=False).encode(),
    "packet_length_mean: not finite": text([row(10, Packet_Length_Mean="NaN")], header=False).encode(),
    "confidence_score: out of range": text([row(11, Confidence_Score="1.2")], header=False).encode(),
    "predicted_label: not a label": text([row(12, Predicted_Label="7")], header=False).encode(),
}


def test_lines_that_are_no_rows_are_kept_with_number_and_reason(mover: Mover, tmp_path: Path) -> None:
    file = tmp_path / "live.csv"
    long = text([row(13)], header=False).encode().replace(b".0", b"x" * (1 << 20), 1)
    lines = [*BAD.values(), long]
    file.write_bytes(text(rows(3)).encode() + b"".join(lines) + b"\n" + text(rows(2, 100)).encode())
    told = one(mover.told("csv", file, "--into", "both"))
    assert told["rejected_by_reason"] == {**dict.fromkeys(BAD, 1), "start_time: not a time": 2}
    assert (told["rows"], told["headers"], told["blank"]) == (5, 2, 1)
    assert told["stores"]["hot"]["written"] == told["stores"]["lake"]["written"] == 5
    kept = Path(told["rejects_file"]).read_bytes()
    assert told["rejects_file"] == f"{file}.rejects.csv"
    found = list(csv.reader(kept.decode("utf-8", "surrogateescape").replace("\0", "\\0").splitlines()))
    assert [int(line[0]) for line in found[1:]] == list(range(5, 5 + len(lines)))
    assert {line[1] for line in found[1:]} == set(told["rejected_by_reason"])
    assert [line[2] for line in found[1:4]] == [
        raw.decode("utf-8", "surrogateescape").replace("\0", "\\0").rstrip("\n") for raw in lines[:3]
    ]


def test_infinity_by_a_duration_of_zero_becomes_zero(mover: Mover, tmp_path: Path) -> None:
    file = tmp_path / "cic.csv"
    file.write_text(text([row(0, Flow_Duration=0, Flow_Bytes_s="Infinity", Flow_Packets_s="NaN", Fwd_Packets_s=""), row(1)]))
    told = one(mover.told("csv", file))
    assert (told["rows"], sum(told["notes"].values())) == (2, 3)
    found = sql(mover.settings.hot, "SELECT flow_bytes_per_sec, flow_packets_per_sec, fwd_packets_per_sec FROM network_flows ORDER BY 1")
    assert found[0] == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("bom.csv", lambda content: b"\xef\xbb\xbf" + content),
        ("crlf.csv", lambda content: content.replace(b"\n", b"\r\n")),
        ("semicolon.csv", lambda content: content.replace(b",", b";")),
        ("quoted.csv", lambda content: b"\n".join(b'"' + line.replace(b",", b'","') + b'"' for line in content.splitlines()) + b"\n"),
        ("packed.csv.gz", gzip.compress),
        ("packed.csv.zst", zstd.compress),
        ("spaces.csv", lambda content: content.replace(b",", b", ")),
        (
            "zone.csv",
            lambda content: b"".join(line.replace(b",", b"Z,", 1) for line in content.splitlines(keepends=True)).replace(
                b"TimestampZ", b"Timestamp"
            ),
        ),
    ],
)
def test_forms_of_a_file(mover: Mover, tmp_path: Path, name: str, change: Any) -> None:
    file = tmp_path / name
    file.write_bytes(change(text(rows(30)).encode()))
    assert one(mover.told("csv", file))["stores"]["hot"]["written"] == 30
    assert sql(mover.settings.hot, "SELECT count(*), min(timestamp), sum(flow_duration) FROM network_flows") == [
        (30, T0, sum(31 * n for n in range(30)))
    ]


def test_a_file_without_header(mover: Mover, tmp_path: Path) -> None:
    file = tmp_path / "live.csv"
    file.write_text(text(rows(30), header=False))
    code, _, err = mover("csv", file)
    assert code == 9
    assert "names no columns of flows" in err
    assert "--columns reference" in err
    told = one(mover.told("csv", file, "--columns", "reference"))
    assert (told["lines"], told["rows"], told["headers"]) == (30, 30, 0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a,b,c\n1,2,3\n", "names no columns of flows"),
        (b"Timestmp,Flow Duration,Predicted_Label\n1,2,3\n", "'Timestmp' may be meant for start_time"),
        (b"Timestamp,Flow Duration,Predicted_Label\n1,2,3\n", "has no column for total_fwd_packets"),
        (b"\xff\xfea\0", "is UTF-16"),
        (b"SQLite format 3\0abc", "is no CSV"),
        (b"\x1f\x8bnot gzip at all", "cannot be read on"),
    ],
)
def test_what_is_no_such_file_is_told_before_anything_is_written(mover: Mover, tmp_path: Path, content: bytes, said: str) -> None:
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text(text(rows(5)))
    bad.write_bytes(content)
    code, _, err = mover("csv", good, bad)
    assert code == 9
    assert said in err
    assert str(bad) in err
    assert sql(mover.settings.hot, "SELECT to_regclass('network_flows')") == [(None,)]


def test_missing_folder_empty(mover: Mover, tmp_path: Path) -> None:
    code, _, err = mover("csv", tmp_path / "none.csv")
    assert (code, "No such file" in err) == (9, True)
    code, _, err = mover("csv", tmp_path)
    assert (code, "Is a directory" in err) == (9, True)
    (tmp_path / "empty.csv").touch()
    assert one(mover.told("csv", tmp_path / "empty.csv"))["lines"] == 0
    (tmp_path / "header.csv").write_text(text([]))
    assert one(mover.told("csv", tmp_path / "header.csv"))["headers"] == 1


def test_a_pipe_is_no_file_and_rejects_are_no_source(mover: Mover, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    code, _, err = mover("csv", tmp_path / "pipe.csv")
    assert (code, "is no plain file" in err) == (9, True)
    for folder, count in (("a", 3), ("b", 4)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "live.csv").write_text(text(rows(count)) + "broken\n" * count)
    (tmp_path / "rejects").mkdir()
    files = sorted(tmp_path.glob("?/*.csv"))
    mover.told("csv", *files, "--rejects", tmp_path / "rejects")
    kept = [len(found.read_text().splitlines()) for found in (tmp_path / "rejects").iterdir()]
    assert sorted(kept) == [4, 5], "files of one name keep theirs apart"
    mover.told("csv", files[0], "--again")
    code, _, err = mover("csv", *sorted(tmp_path.glob("a/*.csv")))
    assert (code, "left out, it holds rejected lines" in err) == (0, True)


def test_other_columns_in_the_middle_of_a_file(mover: Mover, tmp_path: Path) -> None:
    file = tmp_path / "live.csv"
    other = text([row(9)]).replace("Total Fwd Packets,Total Backward Packets", "Total Backward Packets,Total Fwd Packets")
    file.write_text(text(rows(3)) + other)
    code, _, err = mover("csv", file)
    assert (code, "line 5 begins other columns" in err) == (9, True)
    assert stored(mover) == []


def test_only_a_span_of_time(mover: Mover, tmp_path: Path) -> None:
    file = tmp_path / "live.csv"
    file.write_text(text(rows(100)))
    told = one(mover.told("csv", file, "--from", "2026-03-01T12:00:10", "--to", "2026-03-01T12:00:20"))
    assert (told["rows"], told["outside_of_time"]) == (10, 90)
    told = one(mover.told("csv", file))
    assert told["stores"]["hot"] == {"written": 90, "already_there": 10, "by_an_earlier_run": 0}


def test_another_time_zone_is_refused_when_rows_would_be_there_twice(mover: Mover, tmp_path: Path) -> None:
    file = tmp_path / "live.csv"
    file.write_text(text(rows(10)))
    mover.told("csv", file, "--timezone", "Europe/Berlin")
    assert sql(mover.settings.hot, "SELECT min(timestamp) FROM network_flows") == [(T0.replace(hour=11),)]
    code, _, err = mover("csv", file)
    assert (code, "would be there twice" in err) == (5, True)
    assert len(stored(mover)) == 10


def test_old_rows_are_told_of(mover: Mover, tmp_path: Path) -> None:
    file = tmp_path / "old.csv"
    file.write_text(text([row(0, Timestamp="2019-05-01T00:00:00")]))
    code, _, err = mover("csv", file)
    assert (code, "which network_flows does not keep (hot.retention_days)" in err) == (0, True)


def test_stores_that_are_differently_far(mover: Mover, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csvfile, "BLOCK", 3000)
    file = tmp_path / "live.csv"
    file.write_text(text(rows(50)))
    mover.told("csv", file)
    with file.open("a") as out:
        out.write(text(rows(30, 50), header=False))
    told = one(mover.told("csv", file, "--into", "both"))
    assert told["stores"]["lake"] == {"written": 80, "already_there": 0, "by_an_earlier_run": 0}
    hot = told["stores"]["hot"]
    assert hot["written"] == 30
    assert hot["already_there"] + hot["by_an_earlier_run"] == 50
    assert len(stored(mover)) == len(in_lake(mover)) == 80


def test_labels_by_name_and_addresses_of_cicflowmeter(mover: Mover, tmp_path: Path) -> None:
    file = tmp_path / "cic.csv"
    lines = text(rows(4)).splitlines()
    names = lines[0].replace("Predicted_Label,Confidence_Score", "Label,Src IP,Dst IP,Src Port,Dst Port,Protocol,Note")
    given = [
        "False,10.0.0.1,2001:db8::1,1,80,6,a",
        "DoS Hulk,10.0.0.2,10.0.0.9,2,80,TCP,b",
        "My Attack,,10.0.0.9,3,53,udp,c",
        "BENIGN,10.0.0.300,10.0.0.9,3,70000,6,d",
    ]
    body = [line.rsplit(",", 2)[0] + "," + more for line, more in zip(lines[1:], given, strict=True)]
    file.write_text("\n".join([names, *body, ""]))
    told = one(mover.told("csv", file))
    assert told["columns_left_out"] == ["Note"]
    assert told["rejected_by_reason"] == {"src_ip: not an IP address": 1}
    found = sql(
        mover.settings.hot,
        "SELECT host(src_ip), host(dst_ip), dst_port, protocol, predicted_label, attack_type, confidence_score "
        "FROM network_flows ORDER BY timestamp",
    )
    assert found == [
        ("10.0.0.1", "2001:db8::1", 80, 6, 0, "BENIGN", 0.0),
        ("10.0.0.2", "10.0.0.9", 80, 6, 1, "HTTP_FLOOD", 1.0),
        ("0.0.0.0", "10.0.0.9", 53, 17, 1, "My Attack", 1.0),
    ]


def test_the_report_for_people(mover: Mover, tmp_path: Path) -> None:
    file = tmp_path / "live.csv"
    file.write_text(text(rows(5)) + "broken\n")
    code, out, _ = mover("csv", file)
    assert code == 0
    assert "lines = 5 rows + 1 rejected + 1 headers + 0 blank" in out
    assert "hot: 5 rows = 5 written + 0 already there" in out
    assert "rejected, number of fields: 1" in out
    assert json.dumps(str(file))[1:-1] in out


def test_a_file_that_was_replaced_is_new_to_each_store(mover: Mover, tmp_path: Path) -> None:
    file = tmp_path / "live.csv"
    file.write_text(text(rows(50)))
    mover.told("csv", file, "--into", "hot")
    file.write_text(text(rows(60, 1000)))
    stores = one(mover.told("csv", file, "--into", "both"))["stores"]
    assert (stores["hot"]["written"], stores["lake"]["written"]) == (60, 60)


@pytest.mark.spark
def test_the_stream_goes_on_in_a_lake_that_was_made_by_moving_in(mover: Mover, tmp_path: Path, spark: Any) -> None:
    from jobs.sinks.lake import Lake

    file = tmp_path / "live.csv"
    file.write_text(text(rows(5)))
    mover.told("csv", file, "--into", "lake")
    Lake(spark, mover.settings, FLOWS).prepare()
    path = lake.location(mover.settings, FLOWS)
    found = spark.read.format("delta").load(path)
    assert found.count() == 5
    found.limit(1).write.format("delta").mode("append").save(path)
    file.write_text(text(rows(7)))
    assert one(mover.told("csv", file, "--into", "lake"))["stores"]["lake"]["written"] == 2


def test_a_lake_on_s3(mover: Mover, tmp_path: Path, s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    s3_server.create_bucket("moving")
    for name, value in s3_server.lake("moving").items():
        given = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        monkeypatch.setenv(f"FLOWLAKE_LAKE__{name}".upper(), given)
    file = tmp_path / "live.csv"
    file.write_text(text(rows(20)))
    for written, there in ((20, 0), (0, 20)):
        stores = one(mover.told("csv", file, "--into", "lake", "--again"))["stores"]
        assert stores["lake"] == {"written": written, "already_there": there, "by_an_earlier_run": 0}
    code, out, err = mover("compare", "--csv", file, "--store", "lake", "--from", "2026-03-01", "--to", "2026-03-02")
    assert (code, "20 rows: equal" in out) == (0, True), err
