"""Columns of files by all the names that CICFlowMeter has given them."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from infra.errors import InputError
from jobs.moving.columns import recognise
from jobs.moving.csvfile import CsvFile
from schemas.cicflowcsv import TOP_FEATURES, canonical
from schemas.cicflowmeter import COLUMNS
from schemas.features import ALL_FEATURES, FEATURES
from schemas.packets import FLOWS

#: Of 2017, as the data set's files have them, blanks included.
OF_2017 = (
    " Destination Port, Flow Duration, Total Fwd Packets, Total Backward Packets,Total Length of Fwd Packets, Total Length of Bwd Packets,"
    " Fwd Packet Length Max, Fwd Packet Length Min, Fwd Packet Length Mean, Fwd Packet Length Std,Bwd Packet Length Max,"
    " Bwd Packet Length Min, Bwd Packet Length Mean, Bwd Packet Length Std,Flow Bytes/s, Flow Packets/s, Flow IAT Mean, Flow IAT Std,"
    " Flow IAT Max, Flow IAT Min,Fwd IAT Total, Fwd IAT Mean, Fwd IAT Std, Fwd IAT Max, Fwd IAT Min,Bwd IAT Total, Bwd IAT Mean,"
    " Bwd IAT Std, Bwd IAT Max, Bwd IAT Min,Fwd PSH Flags, Bwd PSH Flags, Fwd URG Flags, Bwd URG Flags, Fwd Header Length,"
    " Bwd Header Length,Fwd Packets/s, Bwd Packets/s, Min Packet Length, Max Packet Length, Packet Length Mean, Packet Length Std,"
    " Packet Length Variance,FIN Flag Count, SYN Flag Count, RST Flag Count, PSH Flag Count, ACK Flag Count, URG Flag Count,"
    " CWE Flag Count, ECE Flag Count, Down/Up Ratio, Average Packet Size, Avg Fwd Segment Size, Avg Bwd Segment Size,"
    "Fwd Avg Bytes/Bulk, Fwd Avg Packets/Bulk, Fwd Avg Bulk Rate, Bwd Avg Bytes/Bulk, Bwd Avg Packets/Bulk,"
    "Bwd Avg Bulk Rate,Subflow Fwd Packets, Subflow Fwd Bytes, Subflow Bwd Packets, Subflow Bwd Bytes,Init_Win_bytes_forward,"
    " Init_Win_bytes_backward, act_data_pkt_fwd, min_seg_size_forward,Active Mean, Active Std, Active Max, Active Min,Idle Mean,"
    " Idle Std, Idle Max, Idle Min, Label"
)
#: Of 2018.
OF_2018 = (
    "Dst Port,Protocol,Timestamp,Flow Duration,Tot Fwd Pkts,Tot Bwd Pkts,TotLen Fwd Pkts,TotLen Bwd Pkts,Fwd Pkt Len Max,Fwd Pkt Len Min,"
    "Fwd Pkt Len Mean,Fwd Pkt Len Std,Bwd Pkt Len Max,Bwd Pkt Len Min,Bwd Pkt Len Mean,Bwd Pkt Len Std,Flow Byts/s,Flow Pkts/s,"
    "Flow IAT Mean,Flow IAT Std,Flow IAT Max,Flow IAT Min,Fwd IAT Tot,Fwd IAT Mean,Fwd IAT Std,Fwd IAT Max,Fwd IAT Min,Bwd IAT Tot,"
    "Bwd IAT Mean,Bwd IAT Std,Bwd IAT Max,Bwd IAT Min,Fwd PSH Flags,Bwd PSH Flags,Fwd URG Flags,Bwd URG Flags,Fwd Header Len,"
    "Bwd Header Len,Fwd Pkts/s,Bwd Pkts/s,Pkt Len Min,Pkt Len Max,Pkt Len Mean,Pkt Len Std,Pkt Len Var,FIN Flag Cnt,SYN Flag Cnt,"
    "RST Flag Cnt,PSH Flag Cnt,ACK Flag Cnt,URG Flag Cnt,CWE Flag Count,ECE Flag Cnt,Down/Up Ratio,Pkt Size Avg,Fwd Seg Size Avg,"
    "Bwd Seg Size Avg,Fwd Byts/b Avg,Fwd Pkts/b Avg,Fwd Blk Rate Avg,Bwd Byts/b Avg,Bwd Pkts/b Avg,Bwd Blk Rate Avg,Subflow Fwd Pkts,"
    "Subflow Fwd Byts,Subflow Bwd Pkts,Subflow Bwd Byts,Init Fwd Win Byts,Init Bwd Win Byts,Fwd Act Data Pkts,Fwd Seg Size Min,"
    "Active Mean,Active Std,Active Max,Active Min,Idle Mean,Idle Std,Idle Max,Idle Min,Label"
)


def found(tmp_path: Path, header: str) -> dict[str, int]:
    file = tmp_path / "a.csv"
    file.write_text(f"{header}\n")
    columns = recognise(FLOWS, CsvFile(file))
    assert columns.extra == ()
    return columns.places


def test_no_two_features_are_spelt_alike() -> None:
    for names in ([f.name for f in ALL_FEATURES], [f.cic for f in ALL_FEATURES]):
        assert [name for name, count in Counter(map(canonical, names)).items() if count > 1] == []
    assert all(canonical(f.name) == canonical(f.cic) for f in ALL_FEATURES)


@pytest.mark.parametrize("header", [f"Timestamp,{OF_2017}", OF_2018])
def test_every_column_is_known_and_goes_to_its_own(tmp_path: Path, header: str) -> None:
    places = found(tmp_path, header)
    assert len(places) == len(header.split(","))
    # Features stand in the same order in every version.
    common = [name for name in (f.name for f in FEATURES) if name in places]
    assert len(common) > 70
    moved = {"fwd_rst_flags", "bwd_rst_flags", "icmp_code", "icmp_type", "total_tcp_flow_time"}
    order = [places[name] for name in common if name not in moved]
    assert order == sorted(order)


def test_names_of_our_own_and_of_the_corrected_files(tmp_path: Path) -> None:
    assert found(tmp_path, ",".join(FLOWS.published.names)).keys() == set(FLOWS.published.names)
    file = tmp_path / "cic.csv"
    file.write_text(",".join(COLUMNS) + "\n")
    columns = recognise(FLOWS, CsvFile(file))
    assert columns.extra == ("Flow ID", "Timestamp"), "ours are more exact"
    assert columns.names[columns.places["flow_id"]] == "flow_id"
    assert {feature.name for feature in FEATURES} < columns.places.keys()


def test_a_prediction_comes_before_a_label(tmp_path: Path) -> None:
    header = ["Label", "Timestamp", *TOP_FEATURES, "Predicted_Label"]
    file = tmp_path / "a.csv"
    file.write_text(",".join(header) + "\n")
    columns = recognise(FLOWS, CsvFile(file))
    assert columns.places["predicted_label"] == len(header) - 1
    assert columns.extra == ("Label",)


def test_a_header_in_quotes_with_semicolons(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    with file.open("w", newline="") as out:
        csv.writer(out, delimiter=";", quoting=csv.QUOTE_ALL).writerow(["Timestamp", *TOP_FEATURES, "Label"])
    assert len(recognise(FLOWS, CsvFile(file)).places) == 22


def test_the_nearest_name_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("Flow Durations,b,c\n1,2,3\n")
    with pytest.raises(InputError, match=r"'Flow Durations' may be meant for flow_duration"):
        recognise(FLOWS, CsvFile(file))
