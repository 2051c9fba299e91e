"""Labels: what counts as one, once by record and source, the last word of several."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.config import Settings
from infra.errors import CaptureError, ConfigError, StoreError
from jobs.sinks import labels
from jobs.sinks.labels import BadLabel, Imported, import_file, latest, verdict
from schemas.packets import FLOWS
from tests.toy_source.records import READING

Factory = Callable[..., Settings]
BY = {"source": "lab", "labelled_by": "ann"}


@pytest.fixture
def made(settings: Factory, tmp_path: Path) -> Settings:
    return settings(sources={"packages": ["jobs.sources", "tests.toy_source"]}, lake={"path": str(tmp_path / "lake" / "flows")})


def said(settings: Settings, record: Any = FLOWS) -> dict[str, tuple[int, str, str]]:
    return {r["record_key"]: (r["label"], r["attack_type"], r["source"]) for r in latest(settings, record).to_pylist()}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (("0", ""), (0, "BENIGN")),
        (("benign", ""), (0, "BENIGN")),
        (("BENIGN", "BENIGN"), (0, "BENIGN")),
        (("1", ""), (1, "ATTACK")),
        (("attack", "SYN_SCAN"), (1, "SYN_SCAN")),
        (("SYN_SCAN", ""), (1, "SYN_SCAN")),
        (("", "SYN_SCAN"), (1, "SYN_SCAN")),
        (("", "benign"), (0, "BENIGN")),
    ],
)
def test_what_is_a_label(given: tuple[str, str], found: tuple[int, str]) -> None:
    assert verdict(*given) == found


@pytest.mark.parametrize(
    "given",
    [
        *[("", " "), ("0", "SYN_SCAN"), ("1", "BENIGN"), ("FLOOD", "SYN_SCAN"), ("2", ""), ("1.5", ""), ("", "-"), ("é", "")],
        *[("nan", ""), ("None", ""), ("NULL", ""), ("inf", ""), ("", "NaN"), ("nan", "None")],
    ],
)
def test_what_is_none(given: tuple[str, str]) -> None:
    with pytest.raises(BadLabel):
        verdict(*given)


def test_a_csv_file_twice_and_its_rejects(made: Settings, tmp_path: Path) -> None:
    file = tmp_path / "truth.csv"
    file.write_text(
        "flow_id,label,attack_type,labelled_at,note\n"
        'a,1,SYN_SCAN,2026-03-01T12:00:00Z,"scan, slow"\n'
        "b,0,,2026-03-01T12:00:00+01:00,\n"
        ",1,,,\n"
        "c,0,FLOOD,,\n"
        "d,1,,yesterday,\n"
        "a,benign,,2026-03-02,later in the file and in time\n"
        "a,1,,2026-02-02,earlier\n"
    )
    done = import_file(made, file, FLOWS, BY)
    assert done == Imported(7, 2, 0, 3, str(file) + ".rejects.csv")
    with open(done.reject_file, newline="") as text:
        rejects = list(csv.DictReader(text))
    assert [(r["line"], r["reason"].split(" ")[0]) for r in rejects] == [("4", "record_key"), ("5", "label"), ("6", "labelled_at")]
    assert said(made) == {"a": (0, "BENIGN", "lab"), "b": (0, "BENIGN", "lab")}
    assert import_file(made, file, FLOWS, BY) == Imported(7, 0, 0, 3, done.reject_file)


def test_what_programs_write_where_nothing_is_said_is_no_attack_type(made: Settings, tmp_path: Path) -> None:
    file = tmp_path / "truth.parquet"
    pq.write_table(pa.table({"flow_id": ["a", "b", "c"], "label": [1.0, float("nan"), float("inf")], "attack_type": ["None"] * 3}), file)
    assert import_file(made, file, FLOWS, BY).rejected == 2
    assert said(made) == {"a": (1, "ATTACK", "lab")}


def test_a_file_that_contradicts_itself_says_nothing_of_that_record(made: Settings, tmp_path: Path) -> None:
    file = tmp_path / "truth.csv"
    file.write_text("flow_id,label,source\na,benign,\nb,1,\na,SYN_SCAN,\nb,1,\na,benign,ann\nc,9,\n")
    done = import_file(made, file, FLOWS, BY)
    assert (done.added, done.rejected) == (2, 3)
    assert said(made) == {"a": (0, "BENIGN", "ann"), "b": (1, "ATTACK", "lab")}
    with open(done.reject_file, newline="") as text:
        rejects = [(row["line"], row["reason"]) for row in csv.DictReader(text)]
    both = "record_key a: the file says BENIGN and SYN_SCAN of it, at the same time"
    assert rejects[:2] == [("2", both), ("4", both)]
    assert rejects[2][0] == "7"


def test_rejects_that_cannot_be_written_are_told_before_anything_is_stored(made: Settings, tmp_path: Path) -> None:
    file = tmp_path / "truth.csv"
    file.write_text("flow_id,label\na,benign\nb,9\n")
    (tmp_path / "truth.csv.rejects.csv").mkdir()
    with pytest.raises(CaptureError, match=r"truth\.csv\.rejects\.csv: Is a directory") as e:
        import_file(made, file, FLOWS, BY)
    assert "copy it" in e.value.hint
    assert said(made) == {}


def test_what_the_meter_writes_is_taken(made: Settings, tmp_path: Path) -> None:
    file = tmp_path / "flows.csv"
    file.write_text("Flow ID,Label,flow_id\nx-y,SYN_SCAN,a\nx-z,BENIGN,b\nz-y,NeedManualLabel,c\n")
    done = import_file(made, file, FLOWS, BY)
    assert (done.added, done.rejected) == (2, 1)
    assert said(made) == {"a": (1, "SYN_SCAN", "lab"), "b": (0, "BENIGN", "lab")}
    with open(done.reject_file, newline="") as text:
        assert [row["reason"] for row in csv.DictReader(text)] == ["label NeedManualLabel: nobody has said what it is"]


def test_without_times_a_second_import_changes_nothing(made: Settings, tmp_path: Path) -> None:
    file = tmp_path / "truth.parquet"
    pq.write_table(pa.table({"record_key": ["a", "b"], "label": pa.array([1.0, 0.0]), "record_type": ["readings", "flows"]}), file)
    assert import_file(made, file, FLOWS, BY) == Imported(2, 2, 0, 0)
    assert import_file(made, file, FLOWS, BY) == Imported(2, 0, 0, 0)
    assert (said(made), said(made, READING)) == ({"b": (0, "BENIGN", "lab")}, {"a": (1, "ATTACK", "lab")})
    os.utime(file, (2e9, 2e9))
    assert import_file(made, file, FLOWS, BY) == Imported(2, 0, 2, 0), "a file that was saved again says it again, later"


def test_a_file_from_the_future_says_it_now(made: Settings, tmp_path: Path) -> None:
    file = tmp_path / "truth.csv"
    file.write_text("flow_id,label\na,1\n")
    os.utime(file, (4e9, 4e9))
    import_file(made, file, FLOWS, BY)
    assert latest(made, FLOWS)["labelled_at"][0].as_py() < datetime.now(UTC)


def test_the_last_word_counts_and_an_earlier_one_does_not_undo_it(made: Settings, tmp_path: Path) -> None:
    file = tmp_path / "v.csv"
    for source, time, label in (
        ("rule", "2026-03-02", "1"),
        ("ann", "2026-03-03", "0"),
        ("rule", "2026-03-01", "0"),
        ("bob", "2026-03-01", "1"),
    ):
        file.write_text(f"record_key,label,source,labelled_at\na,{label},{source},{time}\n")
        import_file(made, file, FLOWS, BY)
    assert said(made) == {"a": (0, "BENIGN", "ann")}
    assert sorted(labels.Side(made, labels.LABELS).dataset().to_table()["source"].to_pylist()) == ["ann", "bob", "rule"]


def test_a_person_goes_before_a_machine_whenever_it_spoke_and_who_disagrees_is_told(made: Settings, tmp_path: Path) -> None:
    file = tmp_path / "v.csv"
    file.write_text(
        "record_key,label,source,labelled_by,labelled_at\n"
        "a,DNS_TUNNEL,ann,ann,2026-03-01\na,0,rule:night,,2026-03-09\n"  # a later rule changes nothing
        "b,SYN_SCAN,ann,ann,2026-03-01\nb,0,bob,bob,2026-03-02\n"  # two people: the later one
        "c,0,generator,,2026-03-01\nc,0,ann,ann,2026-03-02\n"  # of one mind
        "d,SYN_SCAN,Truth,,2026-03-01\n"
    )
    import_file(made, file, FLOWS, {})
    assert {key: found[1:] for key, found in said(made).items()} == {
        "a": ("DNS_TUNNEL", "ann"), "b": ("BENIGN", "bob"), "c": ("BENIGN", "ann"), "d": ("SYN_SCAN", "Truth")
    }  # fmt: skip
    assert [str(one) for one in labels.conflicts(made, FLOWS)] == [
        "a: ann says DNS_TUNNEL, rule:night says BENIGN",
        "b: bob says BENIGN, ann says SYN_SCAN",
    ]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("x.csv", "id,label\na,1\n", "its columns are id, label"),
        ("x.csv", "flow_id,note\na,1\n", "its columns are flow_id, note"),
        ("x.csv", f"{','.join(f'c{n:02}' for n in range(90))}\n{',' * 89}\n", "its columns are c00, .*c09 and 80 more"),
        ("x.csv", "flow_id,label,label\na,1,0\n", "2 columns 'label'"),
        ("x.parquet", "no parquet", "x.parquet"),
        ("x.csv", 'flow_id,label\n"a,1\n', "x.csv"),
        ("x.csv", b"flow_id,label\n\xff,1\n", "x.csv"),
    ],
)
def test_a_file_that_is_none(made: Settings, tmp_path: Path, name: str, content: Any, told: str) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CaptureError, match=told) as failure:
        import_file(made, tmp_path / name, FLOWS, BY)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("between", [";", "\t"])
def test_cells_that_are_not_separated_by_commas_are_told(made: Settings, tmp_path: Path, between: str) -> None:
    (tmp_path / "x.csv").write_text(f"flow_id{between}label\na{between}1\n")
    with pytest.raises(CaptureError) as failure:
        import_file(made, tmp_path / "x.csv", FLOWS, BY)
    assert "save it with commas" in failure.value.hint


@pytest.mark.parametrize("content", [None, b"no Parquet any more"])
def test_a_table_whose_files_are_damaged_is_told(made: Settings, tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / "x.csv").write_text("flow_id,label\na,1\n")
    import_file(made, tmp_path / "x.csv", FLOWS, BY)
    (file,) = Path(labels.Side(made, labels.LABELS).path).rglob("*.parquet")
    file.unlink() if content is None else file.write_bytes(content)
    for version in (None, 1):
        with pytest.raises(StoreError, match="labels: ") as failure:
            latest(made, FLOWS, version)
    assert content is not None or "VACUUM" in failure.value.hint


def test_a_record_type_that_there_is_not(made: Settings, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("record_key,label,record_type\na,1,nosuch\n")
    with pytest.raises(ConfigError, match="no record type 'nosuch'"):
        import_file(made, tmp_path / "x.csv", FLOWS, BY)
    assert latest(made, FLOWS).num_rows == 0


def test_a_name_that_no_source_declares_is_taken_and_told(made: Settings, tmp_path: Path) -> None:
    file = tmp_path / "truth.csv"
    file.write_text("flow_id,label\na,SYNSCAN\nb,SYN_SCAN\nc,SYNSCAN\nd,2\n")
    done = import_file(made, file, FLOWS, BY)
    assert (done.added, done.rejected, done.undeclared) == (3, 1, {"SYNSCAN": 2})
