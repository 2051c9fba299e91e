"""The filter compiler, run on an interpreter of the BPF machine written for the test."""

from __future__ import annotations

import struct

import pytest

from infra.errors import CaptureError
from sensors.packets import bpf


def accepts(program: bpf.Program, frame: bytes) -> bool:
    """Run a program as the kernel does: a load outside the frame rejects it."""
    a = x = at = 0
    sizes = {0x20: ">I", 0x28: ">H", 0x30: ">B", 0x48: ">H"}
    while True:
        code, jt, jf, k = program[at]
        at += 1
        try:
            if code in (0x20, 0x28, 0x30):
                (a,) = struct.unpack_from(sizes[code], frame, k)
            elif code == 0x48:
                (a,) = struct.unpack_from(">H", frame, x + k)
            elif code == 0xB1:
                x = 4 * (frame[k] & 15)
            elif code == 0x80:
                a = len(frame)
            elif code == 0x54:
                a &= k
            elif code == 0x06:
                return k > 0
            else:
                met = {0x15: a == k, 0x25: a > k, 0x35: a >= k, 0x45: bool(a & k)}[code]
                at += jt if met else jf
        except (struct.error, IndexError):
            return False


ETH = bytes(12)


def v4(proto: int, src: str, dst: str, sport: int = 0, dport: int = 0, fragment: int = 0, options: int = 0) -> bytes:
    a, b = (bytes(int(n) for n in x.split(".")) for x in (src, dst))
    head = bytes([0x45 + options]) + bytes(5) + fragment.to_bytes(2, "big") + bytes([64, proto, 0, 0]) + a + b + bytes(4 * options)
    return ETH + b"\x08\x00" + head + sport.to_bytes(2, "big") + dport.to_bytes(2, "big") + bytes(20)


def v6(proto: int, src: bytes, dst: bytes, sport: int = 0, dport: int = 0) -> bytes:
    return (
        ETH + b"\x86\xdd\x60" + bytes(5) + bytes([proto, 64]) + src + dst + sport.to_bytes(2, "big") + dport.to_bytes(2, "big") + bytes(20)
    )


WEB = v4(6, "10.0.0.1", "192.168.1.2", 40000, 443)
BACK = v4(6, "192.168.1.2", "10.0.0.1", 443, 40000, options=2)
DNS = v4(17, "10.0.0.1", "8.8.8.8", 5353, 53)
PING = v4(1, "10.0.0.1", "8.8.8.8")
PIECE = v4(17, "10.0.0.1", "8.8.8.8", 5353, 53, fragment=100)
SIX = v6(6, bytes(15) + b"\x01", b"\x20\x01\x0d\xb8" + bytes(12), 50000, 22)
ARP = ETH + b"\x08\x06" + bytes(14) + bytes([10, 0, 0, 1]) + bytes(6) + bytes([10, 0, 0, 9]) + bytes(20)
FRAMES = {"web": WEB, "back": BACK, "dns": DNS, "ping": PING, "piece": PIECE, "six": SIX, "arp": ARP}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp", "web back six"),
        ("udp", "dns piece"),
        ("ip6", "six"),
        ("ip", "web back dns ping piece"),
        ("arp", "arp"),
        ("icmp", "ping"),
        ("ip proto 17", "dns piece"),
        ("port 443", "web back"),
        ("tcp dst port 443", "web"),
        ("src port 443", "back"),
        ("udp port 53", "dns"),
        ("portrange 20-60", "dns six"),
        ("host 10.0.0.1", "web back dns ping piece arp"),
        ("src host 10.0.0.1 and not udp", "web ping arp"),
        ("8.8.8.8", "dns ping piece"),
        ("net 192.168.0.0/16", "web back"),
        ("dst net 2001:db8::/32", "six"),
        ("host ::1", "six"),
        ("not ip", "six arp"),
        ("tcp and (port 22 or src port 443)", "back six"),
        ("udp or tcp and port 443", "web back"),  # equal precedence, from the left
        ("! (tcp || udp)", "ping arp"),
        ("tcp port https", "web back"),
        ("greater 1000", ""),
        ("less 1000", "web back dns ping piece six arp"),
    ],
)
def test_filters(text: str, expected: str) -> None:
    program = bpf._by_ourselves(text, 1)
    assert {name for name, frame in FRAMES.items() if accepts(program, frame)} == set(expected.split())


def test_raw_ip() -> None:
    program = bpf._by_ourselves("tcp port 443", 101)
    assert accepts(program, WEB[14:])
    assert not accepts(program, DNS[14:])
    assert not accepts(program, b"")


@pytest.mark.parametrize(
    "text", ["tcp prt 80", "port 99999", "host", "(tcp", "tcp)", "and", "net 300.0.0.0/8", "portrange 5-1", "tcp udp", "!"]
)
def test_wrong_filters_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(CaptureError) as e:
        bpf._by_ourselves(text, 1)
    assert repr(text) in str(e.value)
