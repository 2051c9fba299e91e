"""``flowlake windows measure``: tables, files, what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import RawPcapWriter

from infra.errors import CaptureError, ConfigError
from jobs.windows import features
from jobs.windows.summary import Summaries
from ops.cli import main
from schemas.labels import BENIGN
from schemas.windows import WINDOW_FEATURES, WINDOW_NAMES, WINDOW_SCHEMA
from sensors.generate import generate, preset, truth
from sensors.packets.pcapwriter import PcapWriter


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty-one seconds of little traffic, scans among it."""
    place = tmp_path_factory.mktemp("windows") / "small.pcap"
    with PcapWriter(place) as writer:
        for batch in generate(preset("demo", seed=2, rate=300.0, duration_s=31.0)):
            writer.write(batch)
    return place


def test_every_feature_is_declared_and_computed() -> None:
    assert len(set(WINDOW_NAMES)) == len(WINDOW_NAMES)
    assert set(features.features(Summaries.none())) == set(WINDOW_NAMES)
    assert all(feature.formula for feature in WINDOW_FEATURES)


def test_windows_are_written_as_they_are_declared(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("w.parquet", "w.csv"):
        assert main.run(["windows", "measure", str(capture), "--out", str(tmp_path / name), "--json"]) == 0
        counts = json.loads(capsys.readouterr().out)["windows"]
    table = pq.read_table(tmp_path / "w.parquet")
    assert table.schema.equals(WINDOW_SCHEMA)
    assert {str(s): table["window_size"].to_pylist().count(s) for s in (5, 30, 180)} == counts
    ids = table["window_id"].to_pylist()
    assert len(set(ids)) == len(ids)
    assert csv.read_csv(tmp_path / "w.csv")["window_id"].to_pylist() == ids, "the same windows have the same ids"
    for row in table.select(["window_start", "window_end", "window_size", "last_packet"]).to_pylist():
        assert row["window_start"] <= row["last_packet"] < row["window_end"]
        assert (row["window_end"] - row["window_start"]).total_seconds() == row["window_size"]


def test_a_table_shows_the_busiest_and_sizes_are_chosen(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["windows", "measure", str(capture), "--size", "30", "--complete", "--limit", "3"]) == 0
    shown = capsys.readouterr().out
    assert "window_start" in shown
    assert "False" not in shown
    assert main.run(["windows", "measure", str(capture), "--size", "180", "--complete", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["windows"] == {"180": 0}


def test_windows_are_labelled_by_what_their_source_did(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = generate(preset("demo", seed=2, rate=300.0, duration_s=31.0))
    for _ in run:
        pass
    known = truth(run)
    pq.write_table(known, tmp_path / "truth.parquet")
    out = tmp_path / "w.parquet"
    assert main.run(["windows", "measure", str(capture), "--labels", str(tmp_path / "truth.parquet"), "--out", str(out), "--json"]) == 0
    flows = [row for row in known.to_pylist() if row["label"] != BENIGN]
    rows = pq.read_table(out).to_pylist()
    assert {"SYN_SCAN", BENIGN} <= {row["Label"] for row in rows}
    for row in rows:
        did = Counter(
            flow["label"]
            for flow in flows
            if flow["src_ip"] == row["src_ip"] and flow["start_time"] < row["window_end"] and flow["end_time"] >= row["window_start"]
        )
        assert row["Label"] == (min(did, key=lambda name: (-did[name], name)) if did else BENIGN)
    with pytest.raises(CaptureError, match="ground truth"):
        main.run(["windows", "measure", str(capture), "--labels", str(capture)])


def _truth_of(folder: Path) -> Path:
    run = generate(preset("demo", seed=2, rate=300.0, duration_s=1.0))
    for _ in run:
        pass
    pq.write_table(truth(run), folder / "made.parquet")
    return folder / "made.parquet"


def test_what_cannot_be_done_is_said(capture: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no part '7'"):
        main.run(["windows", "measure", str(capture), "--size", "7"])
    with pytest.raises(ConfigError, match="its name ends neither"):
        main.run(["windows", "measure", str(capture), "--out", str(tmp_path / "w.txt")])
    with pytest.raises(CaptureError, match="no such file"):
        main.run(["windows", "measure", str(tmp_path / "none.pcap")])
    known = tmp_path / "truth.parquet"
    known.write_bytes(b"what is true")
    with pytest.raises(CaptureError, match="ground truth"):
        main.run(["windows", "measure", str(capture), "--labels", str(known)])
    known = _truth_of(tmp_path)
    with pytest.raises(ConfigError, match="is what is read"):
        main.run(["windows", "measure", str(capture), "--labels", str(known), "--out", str(known)])
    with pytest.raises(CaptureError, match="No such file"):
        main.run(["windows", "measure", str(capture), "--out", str(tmp_path / "no" / "w.parquet")])


def test_packets_that_are_in_no_window_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every second one three seconds behind: without an order they are late."""
    capture = tmp_path / "lag.pcap"
    times = np.repeat(np.arange(2000), 2) * 10_000_000 + 1_767_603_600_000_000_000
    times[1::2] -= 3_000_000_000
    frame = Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1000, dport=53) / b"x"
    with RawPcapWriter(str(capture), linktype=1, nano=True) as writer:
        writer.write_header(None)
        for time in times.tolist():
            writer.write_packet(bytes(frame), sec=time // 10**9, usec=time % 10**9)
    words = ["windows", "measure", str(capture), "--size", "180", "--json"]
    assert main.run(words) == 0
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert told["packets"] == 4000
    assert "warning" in shown.err
    assert sum(told["left_out"].values()) > 1000
    assert main.run([*words, "--sort"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["left_out"] == {}
    assert not shown.err


def test_files_of_one_name_are_told(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = tmp_path / "other.pcap"
    again.write_bytes(capture.read_bytes())
    assert main.run(["windows", "measure", str(capture), str(again), "--sensor", "lab", "--json"]) == 0
    assert "each file has windows of its own" in capsys.readouterr().err
    assert main.run(["windows", "measure", str(capture), str(again), "--json"]) == 0
    assert "each file" not in capsys.readouterr().err


def test_of_several_captures_the_table_says_which(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = tmp_path / "other.pcap"
    again.write_bytes(capture.read_bytes())
    assert main.run(["windows", "measure", str(capture), "--size", "30"]) == 0
    assert "domain" not in capsys.readouterr().out
    assert main.run(["windows", "measure", str(capture), str(again), "--size", "30", "--limit", "2"]) == 0
    shown = capsys.readouterr().out
    assert "domain" in shown
    assert shown.count("small") == shown.count("other") == 1, "the same window of each"


def test_labels_of_another_capture_are_told(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of = truth(preset("demo", seed=2, rate=300.0, duration_s=31.0, start_ns=10**18))
    pq.write_table(
        of.set_column(of.schema.get_field_index("start_time"), "start_time", of["start_time"].cast(pa.timestamp("ns", "UTC"))),
        tmp_path / "t.parquet",
    )
    assert main.run(["windows", "measure", str(capture), "--labels", str(tmp_path / "t.parquet"), "--json"]) == 0
    assert "is in a window: is it of these captures?" in capsys.readouterr().err
    numbers = of.set_column(of.schema.get_field_index("label"), "label", pa.array(range(of.num_rows)))
    pq.write_table(numbers, tmp_path / "n.parquet")
    with pytest.raises(CaptureError, match="ground truth"):
        main.run(["windows", "measure", str(capture), "--labels", str(tmp_path / "n.parquet")])


def test_a_capture_that_is_cut_is_named(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cut.pcap").write_bytes(capture.read_bytes()[:-7])
    assert main.run(["windows", "measure", str(tmp_path / "cut.pcap"), "--json"]) == 0
    assert "cut.pcap: cut or damaged" in capsys.readouterr().err


def test_a_capture_that_cannot_be_read_does_not_cost_the_others(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty, out = tmp_path / "empty.pcap", tmp_path / "w.parquet"
    empty.touch()
    assert main.run(["windows", "measure", str(capture), "--size", "30", "--out", str(tmp_path / "alone.parquet")]) == 0
    with pytest.raises(CaptureError, match="1 capture file of 2 could not be read"):
        main.run(["windows", "measure", str(empty), str(capture), "--size", "30", "--out", str(out)])
    assert "unreadable" in (told := capsys.readouterr().err)
    assert "empty.pcap" in told
    assert pq.read_table(out).equals(pq.read_table(tmp_path / "alone.parquet"))
    with pytest.raises(CaptureError, match=r"empty\.pcap: is empty"):
        main.run(["windows", "measure", str(empty)])


def test_sources_that_are_summed_up_are_told(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bound = tmp_path / "few.yaml"
    bound.write_text("windows:\n  max_sources: 16\n", encoding="utf-8")
    assert main.run(["windows", "measure", str(capture), "--json", "--conf-file", str(bound)]) == 0
    assert "of networks, not of sources: a slot had more than 16 sources" in capsys.readouterr().err
    assert main.run(["windows", "measure", str(capture), "--json"]) == 0
    assert not capsys.readouterr().err
