"""The oracle's own parts against published values."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.oracle.capture import read, write_pcap, write_pcapng
from tests.oracle.community import community_id
from tests.oracle.compare import differences
from tests.oracle.meter import Frame, meter
from tests.unit.metering.cases import bwd, fwd


@pytest.mark.parametrize(
    ("src", "dst", "proto", "sport", "dport", "icmp", "expected"),
    [  # baseline of the public specification
        ("128.232.110.120", "66.35.250.204", 6, 34855, 80, (-1, -1), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        ("66.35.250.204", "128.232.110.120", 6, 80, 34855, (-1, -1), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        ("192.168.1.52", "8.8.8.8", 17, 54585, 53, (-1, -1), "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
        ("192.168.170.8", "192.168.170.56", 132, 7, 80, (-1, -1), "1:jQgCxbku+pNGw8WPbEc/TS/uTpQ="),
        ("192.168.0.89", "192.168.0.1", 1, 0, 0, (8, 0), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
        ("192.168.0.1", "192.168.0.89", 1, 0, 0, (0, 0), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
        ("fe80::200:86ff:fe05:80da", "fe80::260:97ff:fe07:69ea", 58, 0, 0, (135, 0), "1:dGHyGvjMfljg6Bppwm3bg0LO8TY="),
    ],
)
def test_community_ids(src: str, dst: str, proto: int, sport: int, dport: int, icmp: tuple[int, int], expected: str) -> None:
    assert community_id(ip_address(src).packed, ip_address(dst).packed, proto, sport, dport, icmp) == expected


def test_a_community_id_with_a_seed() -> None:
    """Of the same baseline, with seed 1."""
    ends = (ip_address("128.232.110.120").packed, ip_address("66.35.250.204").packed)
    assert community_id(*ends, 6, 34855, 80, seed=1) == "1:3V71V58M3Ksw/yuFALMcW0LAHvc="


@pytest.mark.parametrize("write", [write_pcap, write_pcapng])
def test_capture_files_round_trip(tmp_path: Path, write: object) -> None:
    frames = [Frame(1_700_000_000_123_456_789, b"abc"), Frame(5, b"defgh")]
    assert read(write(tmp_path / "x", frames)) == frames  # type: ignore[operator]


def test_the_comparison_sees_a_difference() -> None:
    frames = [fwd(0, "S"), bwd(1, "SA"), fwd(3, "A", 10)]
    records = meter(frames)[0]
    assert differences(records, meter(frames)[0]) == []
    for name, wrong in {"flow_iat_std": records[0]["flow_iat_std"] * (1 + 1e-8), "ack_flag_count": 1, "src_ip": "10.0.0.9"}.items():
        lines = differences(records, [records[0] | {name: wrong}])
        assert any(name in line or "10.0.0.9" in line for line in lines)
    assert differences(records, []) != []
    assert differences(records, records * 2) != []
