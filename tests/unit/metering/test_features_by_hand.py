"""Every feature on conversations small enough to compute by hand; the oracle and the product are held to the same numbers."""

from __future__ import annotations

import pytest

from tests.oracle.features import Seen, active_idle, bulks
from tests.oracle.parse import TCP, Packet
from tests.unit.metering.cases import A, B, bwd, fwd, of
from tests.unit.metering.conftest import Metered

SECOND = 1_000_000


def one(records: list[dict]) -> dict:
    assert len(records) == 1, [(r["start_time"], r["end_reason"]) for r in records]
    return records[0]


def check(record: dict, expected: dict) -> None:
    got = {name: record[name] for name in expected}
    assert got == pytest.approx(expected, rel=1e-9)


# -- the two worked examples of the definitions ------------------------------------------------------------------------------------


def test_active_and_idle_of_the_definition() -> None:
    times = [round(t * SECOND) for t in (0, 1, 2, 10, 11, 30, 30.5)]
    assert active_idle(times) == ([2 * SECOND, 1 * SECOND], [8 * SECOND, 19 * SECOND])


def test_bulk_of_the_definition() -> None:
    packet = Packet(4, b"", b"", TCP, 0, payload=100)
    forward, backward = bulks([Seen(i * 100_000, True, packet) for i in range(6)])
    assert forward.averages() == (600, 6, 1200)
    assert backward.averages() == (0, 0, 0)


def test_active_and_idle_example_as_packets(metered: Metered) -> None:
    r = one(metered(fwd(t, "A", 10) for t in (0, 1, 2, 10, 11, 30, 30.5)))
    check(r, {"active_mean": 1.5e6, "active_std": 0.5e6 * 2**0.5, "active_max": 2_000_000, "active_min": 1_000_000})
    check(r, {"idle_mean": 13.5e6, "idle_std": 5.5e6 * 2**0.5, "idle_max": 19_000_000, "idle_min": 8_000_000})


@pytest.mark.parametrize(("packet", "side"), [(fwd, "fwd"), (bwd, "bwd")])
def test_bulk_example_as_packets(metered: Metered, packet: object, side: str) -> None:
    frames = [fwd(-0.5, "S")] + [packet(i / 10, "A", 100) for i in range(6)]  # type: ignore[operator]
    r = one(metered(frames))
    other = {"fwd": "bwd", "bwd": "fwd"}[side]
    check(r, {f"{side}_bytes_bulk_avg": 600, f"{side}_packet_bulk_avg": 6, f"{side}_bulk_rate_avg": 1200})
    check(r, {f"{other}_bytes_bulk_avg": 0, f"{other}_packet_bulk_avg": 0, f"{other}_bulk_rate_avg": 0})


# -- one conversation, every feature ------------------------------------------------------------------------------------------------


def test_every_feature_of_a_small_conversation(metered: Metered) -> None:
    r = one(
        metered(
            [
                fwd(0.0, "S", 0, window=64240, options=20),  # H 40
                bwd(0.1, "SA", 0, window=28960, options=20),  # H 40
                fwd(0.2, "A", 0, window=502),
                fwd(0.2, "PA", 100, window=502),
                bwd(0.5, "AEC", 1400, window=400, options=12),  # H 32
                bwd(1.5, "PAU", 600, window=400, options=12),
                fwd(4.0, "AU", 0, window=501),
            ]
        )
    )
    d = 4.0
    expected = {
        "flow_duration": 4_000_000,
        "total_fwd_packets": 4,
        "total_backward_packets": 3,
        "total_length_fwd_packets": 100,
        "total_length_bwd_packets": 2000,
        "fwd_packet_length_max": 100,
        "fwd_packet_length_min": 0,
        "fwd_packet_length_mean": 25,
        "fwd_packet_length_std": 50,  # (75^2 + 3*25^2) / 3 = 2500
        "bwd_packet_length_max": 1400,
        "bwd_packet_length_min": 0,
        "bwd_packet_length_mean": 2000 / 3,
        "bwd_packet_length_std": (((2000 / 3) ** 2 + (2200 / 3) ** 2 + (200 / 3) ** 2) / 2) ** 0.5,
        "flow_bytes_per_sec": 2100 / d,
        "flow_packets_per_sec": 7 / d,
        # gaps: 0.1 0.1 0 0.3 1 2.5 s
        "flow_iat_mean": 4e6 / 6,
        "flow_iat_std": 1e6 * ((0.01 + 0.01 + 0 + 0.09 + 1 + 6.25 - 16 / 6) / 5) ** 0.5,
        "flow_iat_max": 2_500_000,
        "flow_iat_min": 0,
        # forward at 0 0.2 0.2 4: gaps 0.2 0 3.8
        "fwd_iat_total": 4_000_000,
        "fwd_iat_mean": 4e6 / 3,
        "fwd_iat_std": 1e6 * ((0.04 + 0 + 14.44 - 16 / 3) / 2) ** 0.5,
        "fwd_iat_max": 3_800_000,
        "fwd_iat_min": 0,
        # backward at 0.1 0.5 1.5: gaps 0.4 1
        "bwd_iat_total": 1_400_000,
        "bwd_iat_mean": 700_000,
        "bwd_iat_std": 1e6 * 0.18**0.5,
        "bwd_iat_max": 1_000_000,
        "bwd_iat_min": 400_000,
        "fwd_psh_flags": 1,
        "bwd_psh_flags": 1,
        "fwd_urg_flags": 1,
        "bwd_urg_flags": 1,
        "fwd_rst_flags": 0,
        "bwd_rst_flags": 0,
        "fwd_header_length": 40 + 20 + 20 + 20,
        "bwd_header_length": 40 + 32 + 32,
        "fwd_packets_per_sec": 4 / d,
        "bwd_packets_per_sec": 3 / d,
        "min_packet_length": 0,
        "max_packet_length": 1400,
        "packet_length_mean": 300,
        "packet_length_variance": (100**2 + 1400**2 + 600**2 - 7 * 300**2) / 6,
        "packet_length_std": ((100**2 + 1400**2 + 600**2 - 7 * 300**2) / 6) ** 0.5,
        "fin_flag_count": 0,
        "syn_flag_count": 2,
        "rst_flag_count": 0,
        "psh_flag_count": 2,
        "ack_flag_count": 6,
        "urg_flag_count": 2,
        "cwr_flag_count": 1,
        "ece_flag_count": 1,
        "down_up_ratio": 0.75,
        "average_packet_size": 300,
        "fwd_segment_size_avg": 25,
        "bwd_segment_size_avg": 2000 / 3,
        "fwd_bytes_bulk_avg": 0,
        "fwd_packet_bulk_avg": 0,
        "fwd_bulk_rate_avg": 0,
        "bwd_bytes_bulk_avg": 0,
        "bwd_packet_bulk_avg": 0,
        "bwd_bulk_rate_avg": 0,
        "subflow_fwd_packets": 2,  # one gap > 1 s (2.5), the one of exactly 1 s does not count
        "subflow_fwd_bytes": 50,
        "subflow_bwd_packets": 1.5,
        "subflow_bwd_bytes": 1000,
        "fwd_init_win_bytes": 64240,
        "bwd_init_win_bytes": 28960,
        "fwd_act_data_pkts": 1,
        "bwd_act_data_pkts": 2,
        "fwd_seg_size_min": 20,
        "bwd_seg_size_min": 32,
        **{f"{k}_{s}": 0 for k in ("active", "idle") for s in ("mean", "std", "max", "min")},
        "icmp_code": -1,
        "icmp_type": -1,
        "total_tcp_flow_time": 4_000_000,
    }
    from schemas.features import FEATURE_NAMES

    assert set(expected) == set(FEATURE_NAMES)
    check(r, expected)
    assert (r["fwd_l3_bytes"], r["bwd_l3_bytes"]) == (60 + 40 + 140 + 40, 60 + 1452 + 652)
    assert (r["src_ip"], r["src_port"], r["dst_ip"], r["dst_port"], r["protocol"]) == (A, 40000, B, 80, 6)
    assert r["end_reason"] == "forced"
    assert r["tcp_state"] == "S1"


def test_one_packet(metered: Metered) -> None:
    r = one(metered([fwd(0, "S", window=1024)]))
    check(r, {"flow_duration": 0, "total_fwd_packets": 1, "total_backward_packets": 0, "flow_bytes_per_sec": 0, "flow_packets_per_sec": 0})
    check(r, {"fwd_packets_per_sec": 0, "down_up_ratio": 0, "flow_iat_mean": 0, "bwd_iat_total": 0, "bwd_init_win_bytes": 0})
    check(r, {"bwd_seg_size_min": 0, "bwd_packet_length_min": 0, "fwd_init_win_bytes": 1024, "packet_length_std": 0})
    assert r["tcp_state"] == "S0"


# -- bulk, rule by rule --------------------------------------------------------------------------------------------------------------


def test_bulk_needs_four_packets(metered: Metered) -> None:
    r = one(metered([fwd(i / 10, "A", 100) for i in range(3)]))
    check(r, {"fwd_bytes_bulk_avg": 0, "fwd_packet_bulk_avg": 0, "fwd_bulk_rate_avg": 0})


def test_bulk_is_ended_by_more_than_a_second(metered: Metered) -> None:
    # 4 at 0..0.3; exactly 1 s later still the same bulk; 1.000001 s later a new one, too short to count
    r = one(metered(fwd(t, "A", 100) for t in (0, 0.1, 0.2, 0.3, 1.3, 2.300001, 2.4)))
    check(r, {"fwd_bytes_bulk_avg": 500, "fwd_packet_bulk_avg": 5, "fwd_bulk_rate_avg": 500 / 1.3})


def test_bulk_is_ended_by_data_of_the_other_side(metered: Metered) -> None:
    frames = [fwd(t, "A", 100) for t in (0, 0.1, 0.2)] + [bwd(0.25, "A", 7)] + [fwd(t, "A", 100) for t in (0.3, 0.4, 0.5, 0.6)]
    r = one(metered(frames))
    check(r, {"fwd_bytes_bulk_avg": 400, "fwd_packet_bulk_avg": 4, "fwd_bulk_rate_avg": 400 / 0.3})


def test_bulk_is_not_ended_by_empty_packets_of_the_other_side(metered: Metered) -> None:
    frames = [fwd(t, "A", 100) for t in (0, 0.1, 0.2)] + [bwd(0.25, "A", 0)] + [fwd(0.3, "A", 100)]
    r = one(metered(frames))
    check(r, {"fwd_bytes_bulk_avg": 400, "fwd_packet_bulk_avg": 4, "fwd_bulk_rate_avg": 400 / 0.3})


def test_an_empty_packet_after_data_of_the_other_side_ends_a_bulk(metered: Metered) -> None:
    frames = [fwd(t, "A", 100) for t in (0, 0.1, 0.2, 0.3)] + [bwd(0.35, "A", 9), fwd(0.4, "A", 0), fwd(0.5, "A", 100)]
    r = one(metered(frames))
    check(r, {"fwd_bytes_bulk_avg": 400, "fwd_packet_bulk_avg": 4, "fwd_bulk_rate_avg": 400 / 0.3})


def test_two_bulks_are_averaged(metered: Metered) -> None:
    times = [0, 0.1, 0.2, 0.3, 5.0, 5.1, 5.2, 5.3, 5.4]
    r = one(metered(fwd(t, "A", 100) for t in times))
    check(r, {"fwd_bytes_bulk_avg": 450, "fwd_packet_bulk_avg": 4.5, "fwd_bulk_rate_avg": 900 / 0.7})


def test_bulk_in_no_time_has_no_rate(metered: Metered) -> None:
    r = one(metered([fwd(0, "A", 100) for _ in range(4)]))
    check(r, {"fwd_bytes_bulk_avg": 400, "fwd_packet_bulk_avg": 4, "fwd_bulk_rate_avg": 0})


# -- thresholds are strict -----------------------------------------------------------------------------------------------------------


def test_five_seconds_are_not_idle(metered: Metered) -> None:
    r = one(metered(fwd(t, "A") for t in (0, 1, 6, 11.000001)))
    check(r, {"idle_mean": 5_000_001, "idle_max": 5_000_001, "active_mean": 6_000_000, "active_std": 0})


def test_an_active_span_of_no_length_is_left_out(metered: Metered) -> None:
    r = one(metered(fwd(t, "A") for t in (0, 10, 20)))
    check(r, {"idle_mean": 10_000_000, "active_mean": 0, "active_max": 0})


def test_subflows_are_cut_by_more_than_a_second(metered: Metered) -> None:
    r = one(metered(fwd(t, "A", 10) for t in (0, 1, 2.000001, 4)))
    check(r, {"subflow_fwd_packets": 4 / 3, "subflow_fwd_bytes": 40 / 3, "subflow_bwd_packets": 0})


# -- other protocols -----------------------------------------------------------------------------------------------------------------


def test_udp(metered: Metered) -> None:
    r = one(metered([of(0, A, B, 17, 5000, 53, 30), of(0.5, B, A, 17, 53, 5000, 120)]))
    check(r, {"fwd_header_length": 8, "bwd_header_length": 8, "total_length_fwd_packets": 30, "total_length_bwd_packets": 120})
    check(r, {"fwd_init_win_bytes": 0, "total_tcp_flow_time": 0, "fwd_seg_size_min": 8, "fwd_l3_bytes": 58, "bwd_l3_bytes": 148})
    assert (r["src_port"], r["dst_port"], r["tcp_state"]) == (5000, 53, "")


def test_sctp_has_ports(metered: Metered) -> None:
    r = one(metered([of(0, A, B, 132, 2905, 2906, 16), of(0.5, B, A, 132, 2906, 2905, 4)]))
    assert (r["src_port"], r["dst_port"], r["protocol"]) == (2905, 2906, 132)
    check(r, {"fwd_header_length": 12, "total_length_fwd_packets": 16, "total_length_bwd_packets": 4, "total_tcp_flow_time": 0})


@pytest.mark.parametrize(("a", "b", "proto", "ask", "answer"), [(A, B, 1, 8, 0), ("fd00::1", "fd00::2", 58, 128, 129)])
def test_icmp(metered: Metered, a: str, b: str, proto: int, ask: int, answer: int) -> None:
    r = one(metered([of(0, a, b, proto, ask, 0, 56), of(0.5, b, a, proto, answer, 0, 56)]))
    assert (r["src_port"], r["dst_port"]) == (0, 0)
    check(r, {"icmp_type": ask, "icmp_code": 0, "fwd_header_length": 0, "total_length_fwd_packets": 64, "bwd_seg_size_min": 0})


def test_a_protocol_without_ports(metered: Metered) -> None:
    r = one(metered([of(0, A, B, 89, payload=44), of(1, B, A, 89, payload=60)]))
    assert (r["src_port"], r["dst_port"], r["protocol"]) == (0, 0, 89)
    check(r, {"total_length_fwd_packets": 44, "total_length_bwd_packets": 60, "fwd_header_length": 0, "icmp_type": -1})
