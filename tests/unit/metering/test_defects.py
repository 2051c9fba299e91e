"""The known defects of flow meters, one named test each: none of them may come back."""

from __future__ import annotations

import math
import struct
import time
from datetime import UTC, datetime

import pytest

from schemas.features import ALL_FEATURES, FEATURES
from tests.oracle.craft import ethernet, ip, tcp, udp
from tests.oracle.meter import Frame
from tests.oracle.parse import ACK, TCP, UDP
from tests.unit.metering.cases import EPOCH, A, B, at, bwd, fwd, of
from tests.unit.metering.conftest import Metered

CIC = {f.cic: f.name for f in ALL_FEATURES}


def one(records: list[dict]) -> dict:
    assert len(records) == 1
    return records[0]


def test_flags_are_counted_over_all_packets_not_the_first(metered: Metered) -> None:
    r = one(metered([fwd(0, "S"), bwd(1, "SA"), fwd(2, "PA"), bwd(3, "PAU"), fwd(4, "PAE"), bwd(5, "FA")]))
    counts = {n: r[f"{n}_flag_count"] for n in ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr")}
    assert counts == {"fin": 1, "syn": 2, "rst": 0, "psh": 3, "ack": 5, "urg": 1, "ece": 1, "cwr": 0}


def test_flag_columns_are_not_permuted(metered: Metered) -> None:
    """Every flag a different number of times, read under the names people see."""
    times = {"F": 1, "S": 2, "R": 3, "P": 4, "A": 5, "U": 6, "C": 7, "E": 8}
    packets = [fwd(i / 100, letter) for letter in "SPAUCEFR" for i in range(times[letter])]
    frames = [f._replace(ns=at(i / 100)) for i, f in enumerate(packets)]
    r = one(metered(frames))
    names = {"FIN": "F", "SYN": "S", "RST": "R", "PSH": "P", "ACK": "A", "URG": "U", "CWR": "C", "ECE": "E"}
    assert {n: r[CIC[f"{n} Flag Count"]] for n in names} == {n: times[letter] for n, letter in names.items()}
    assert [r[CIC[f"Fwd {n} Flags"]] for n in ("PSH", "URG", "RST")] == [4, 6, 3]


def test_the_first_payload_is_counted_once(metered: Metered) -> None:
    r = one(metered([fwd(0, "A", 900), fwd(1, "A", 300), bwd(2, "A", 0)]))
    assert r["packet_length_mean"] == 400
    assert r["average_packet_size"] == 400
    assert r["packet_length_variance"] == pytest.approx((500**2 + 100**2 + 400**2) / 2, rel=1e-12)


def test_one_fin_does_not_end_a_flow(metered: Metered) -> None:
    r = one(metered([fwd(0, "S"), bwd(1, "SA"), fwd(2, "FA"), bwd(3, "A"), bwd(20, "PA", 500), fwd(21, "A")]))
    assert (r["total_fwd_packets"], r["total_backward_packets"], r["end_reason"]) == (3, 3, "forced")


def test_a_rst_ends_a_flow(metered: Metered) -> None:
    records = metered([fwd(0, "S"), bwd(1, "SA"), bwd(2, "RA"), fwd(10, "S"), fwd(11, "A")])
    assert [(r["end_reason"], r["total_fwd_packets"] + r["total_backward_packets"]) for r in records] == [("rst", 3), ("forced", 2)]


def test_trailing_packets_make_no_appendix_flow(metered: Metered) -> None:
    frames = [fwd(0, "S"), bwd(0.1, "SA"), fwd(1, "FA"), bwd(1.1, "FA"), fwd(1.2, "A"), bwd(1.3, "FA"), fwd(1.4, "A"), bwd(4, "A")]
    assert one(metered(frames))["end_reason"] == "fin"


def test_bulk_is_found_on_the_side_that_sends_it(metered: Metered) -> None:
    up = one(metered([fwd(0, "S"), bwd(0.1, "SA"), *(fwd(0.2 + i / 100, "A", 1000) for i in range(5))]))
    down = one(metered([fwd(0, "S"), bwd(0.1, "SA"), *(bwd(0.2 + i / 100, "A", 1000) for i in range(5))]))
    assert (up["fwd_bytes_bulk_avg"], up["bwd_bytes_bulk_avg"]) == (5000, 0)
    assert (down["fwd_bytes_bulk_avg"], down["bwd_bytes_bulk_avg"]) == (0, 5000)
    assert up["fwd_bulk_rate_avg"] == pytest.approx(5000 / 0.04)


def test_subflows_are_not_the_totals(metered: Metered) -> None:
    r = one(metered([fwd(0, "A", 100), bwd(0.5, "A", 60), fwd(3, "A", 100), bwd(3.1, "A", 60), fwd(6, "A", 100)]))
    assert (r["subflow_fwd_packets"], r["subflow_fwd_bytes"]) == (1, 100)
    assert (r["subflow_bwd_packets"], r["subflow_bwd_bytes"]) == (pytest.approx(2 / 3), 40)


def test_the_initial_window_is_the_first_not_the_last(metered: Metered) -> None:
    frames = [fwd(0, "S", window=64240), bwd(1, "SA", window=65535), fwd(2, window=1), bwd(3, window=2), fwd(4, window=0)]
    r = one(metered(frames))
    assert (r["fwd_init_win_bytes"], r["bwd_init_win_bytes"]) == (64240, 65535)


def test_header_lengths_do_not_wrap_at_16_bits(metered: Metered) -> None:
    r = one(metered([fwd(i / 100, "A", options=40) for i in range(1200)]))
    assert r["fwd_header_length"] == 1200 * 60 == 72_000


def test_payload_does_not_come_from_captured_bytes(metered: Metered) -> None:
    whole = [fwd(0, "A", 1400), bwd(1, "A", 700, options=12)]
    cut = [f._replace(data=f.data[:54]) for f in whole]
    r = one(metered(cut))
    assert (r["total_length_fwd_packets"], r["total_length_bwd_packets"]) == (1400, 700)
    assert (r["fwd_l3_bytes"], r["bwd_l3_bytes"], r["bwd_header_length"]) == (1440, 752, 32)


def test_padding_is_not_payload(metered: Metered) -> None:
    frame = fwd(0, "A")
    assert len(frame.data) == 60  # 54 bytes of headers, padded
    r = one(metered([frame, of(1, B, A, TCP, 80, 40000, 0)]))
    assert (r["total_length_fwd_packets"], r["total_length_bwd_packets"], r["fwd_act_data_pkts"]) == (0, 0, 0)
    trailer = Frame(at(0), ethernet(ip(A, B, UDP, udp(1, 2, 10))) + b"t" * 30)
    assert one(metered([trailer]))["total_length_fwd_packets"] == 10


def test_ipv6_is_neither_dropped_nor_read_as_ipv4(metered: Metered) -> None:
    r = one(metered([of(0, "2001:db8::a", "2001:db8::b", TCP, 1000, 443, 55), of(1, "2001:db8::b", "2001:db8::a", TCP, 443, 1000, 5)]))
    assert (r["ip_version"], r["src_ip"], r["dst_ip"], r["src_port"]) == (6, "2001:db8::a", "2001:db8::b", 1000)
    assert (r["total_length_fwd_packets"], r["total_length_bwd_packets"]) == (55, 5)


@pytest.mark.parametrize(
    ("link_type", "head"),
    [
        (0, struct.pack("<I", 2)),
        (9, b"\x00\x21"),
        (101, b""),
        (104, b"\x0f\0\x08\0"),
        (113, b"\0" * 14 + b"\x08\0"),
        (276, b"\x08\0" + b"\0" * 18),
    ],
)
def test_link_types_other_than_ethernet_are_metered(metered: Metered, link_type: int, head: bytes) -> None:
    r = one(metered([Frame(at(0), head + ip(A, B, TCP, tcp(1, 2, ACK, 33)), link_type)]))
    assert (r["src_ip"], r["src_port"], r["total_length_fwd_packets"]) == (A, 1, 33)


def test_later_fragments_are_no_flows_of_protocol_zero(metered: Metered) -> None:
    frames = [
        Frame(at(0), ethernet(ip(A, B, UDP, udp(9, 10, 1472), ident=3, more=True))),
        Frame(at(0.1), ethernet(ip(A, B, UDP, b"." * 520, ident=3, offset=185))),
        Frame(at(0.2), ethernet(ip(A, B, UDP, b"." * 520, ident=4, offset=185))),  # its first fragment was never seen
    ]
    r = one(metered(frames))
    assert (r["protocol"], r["src_port"], r["total_fwd_packets"]) == (UDP, 9, 2)


@pytest.mark.parametrize(
    "frames",
    [
        [fwd(0, "S")],
        [fwd(0, "A", 100) for _ in range(6)],
        [bwd(0, "SA")],
        [of(0, A, B, 1, 8, 0, 0)],
        [of(0, A, B, 89)],
        [fwd(0), fwd(50), fwd(100), fwd(121)],
    ],
)
def test_nothing_is_infinite_or_nan(metered: Metered, frames: list[Frame]) -> None:
    for r in metered(frames):
        assert [n for n, v in r.items() if isinstance(v, float) and not math.isfinite(v)] == []
        assert [f.name for f in ALL_FEATURES if r[f.name] is None] == []


def test_ratios_are_not_divided_as_integers(metered: Metered) -> None:
    r = one(metered([fwd(0, "A", 1), fwd(0.1, "A", 2), fwd(0.2, "A", 2), bwd(0.3, "A", 1), bwd(0.4, "A", 0)]))
    assert r["down_up_ratio"] == pytest.approx(2 / 3)
    assert r["fwd_segment_size_avg"] == pytest.approx(5 / 3)
    assert r["bwd_segment_size_avg"] == 0.5
    assert r["packet_length_mean"] == 1.2
    assert r["flow_bytes_per_sec"] == pytest.approx(15)


def test_times_are_utc_whatever_the_local_zone(metered: Metered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        r = one(metered([fwd(0.25), fwd(1.5)]))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert r["start_time"] == datetime.fromtimestamp(EPOCH + 0.25, UTC)
    assert r["end_time"] == datetime.fromtimestamp(EPOCH + 1.5, UTC)
    assert r["start_time"].utcoffset().total_seconds() == 0


def test_disorder_within_the_watermark_changes_nothing(metered: Metered) -> None:
    frames = [fwd(0, "S"), bwd(0.1, "SA"), fwd(0.2), fwd(0.3, "A", 100), bwd(0.4, "A", 9), fwd(0.5, "FA"), bwd(0.6, "FA"), fwd(0.7)]
    ordered = metered(frames)
    for shuffled in (frames[::-1], frames[4:] + frames[:4], frames[::2] + frames[1::2]):
        got = metered(shuffled)
        for r in (*ordered, *got):
            r.pop("out_of_order_packets", None)  # what was out of order is counted
        assert got == ordered


def test_the_columns_are_those_of_the_corrected_dataset() -> None:
    """Names to the letter where they are easily mistaken."""
    names = [f.cic for f in FEATURES]
    assert names[:3] == ["Flow Duration", "Total Fwd Packet", "Total Bwd packets"]
    assert {"FWD Init Win Bytes", "Fwd Act Data Pkts", "Fwd Seg Size Min", "CWR Flag Count", "Down/Up Ratio"} <= set(names)
    assert "Fwd Header Length.1" not in names
    assert len(names) == len(set(names))
