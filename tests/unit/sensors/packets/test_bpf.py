"""Filters, compiled and then run by the kernel on frames made here."""

from __future__ import annotations

import os
import socket

import pytest

from infra.errors import CaptureError
from sensors.packets import bpf
from sensors.packets.afpacket import LINK_TYPES


def accepts(program: bpf.Program, frame: bytes) -> bool:
    """Whether the kernel lets ``frame`` through to a socket with this filter; what it rejects is not delivered."""
    out, into = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with out, into:
        bpf.attach(into, program, "a test's")
        into.setblocking(False)
        out.send(frame)
        try:
            return into.recv(65_536) == frame
        except BlockingIOError:
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
        ("host 8.8.8.8", "dns ping piece"),
        ("net 192.168.0.0/16", "web back"),
        ("dst net 2001:db8::/32", "six"),
        ("host ::1", "six"),
        ("not ip", "six arp"),
        ("tcp and (port 22 or src port 443)", "back six"),
        ("udp or tcp and port 443", "web back"),  # equal precedence, from the left
        ("! (tcp || udp)", "ping arp"),
        ("greater 1000", ""),
        ("less 1000", "web back dns ping piece six arp"),
        ("tcp[tcpflags] & (tcp-syn|tcp-fin) == 0 and dst port 443", "web"),
        ("ip[6:2] & 0x1fff != 0", "piece"),
        ("ether proto 0x86dd", "six"),
        ("ip[0] & 15 > 5", "back"),
        ("not ether multicast and tcp src portrange 40000-50000", "web six"),
        ("len <= 62", "web dns ping piece arp"),
    ],
)
def test_filters(text: str, expected: str) -> None:
    program = bpf.compile_filter(text, 1)
    assert {name for name, frame in FRAMES.items() if accepts(program, frame)} == set(expected.split())


def test_frames_without_a_link_header() -> None:
    program = bpf.compile_filter("tcp port 443", 101)
    assert accepts(program, WEB[14:])
    assert not accepts(program, DNS[14:])
    assert not accepts(program, b"\x45")


@pytest.mark.parametrize("link_type", sorted(set(LINK_TYPES.values()) - {227, 253}))
def test_every_kind_of_link_that_carries_ip_has_filters(link_type: int) -> None:
    assert len(bpf.compile_filter("tcp port 443", link_type)) > 1


@pytest.mark.parametrize(
    "text",
    [
        "tcp prt 80", "port 99999", "host", "(tcp", "tcp)", "and", "net 300.0.0.0/8", "tcp udp", "!",
        "ip and ip6", "a\0b", os.fsdecode(b"host caf\xe9"), "tcp\nport\n99999", "vlan", "vlan 5 and tcp", "tcp and not (vlan)",
    ],
)  # fmt: skip
@pytest.mark.parametrize("link_type", [1, 101])
def test_wrong_filters_are_refused_in_one_line(text: str, link_type: int) -> None:
    with pytest.raises(CaptureError) as e:
        bpf.compile_filter(text, link_type)
    assert str(e.value).startswith(f"filter {text!r}: ")
    assert e.value.hint
    assert str(e.value).isprintable()


def test_a_link_that_knows_no_filter_by_protocol_says_so() -> None:
    with pytest.raises(CaptureError, match="filter 'tcp': CAN link-layer type filtering not implemented"):
        bpf.compile_filter("tcp", 227)


@pytest.mark.parametrize("n", [5_000, 70_000])
def test_a_program_that_the_kernel_does_not_take(n: int) -> None:
    out, into = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with out, into, pytest.raises(CaptureError, match="filter 'long': the kernel refuses its"):
        bpf.attach(into, [(0x06, 0, 0, 1)] * n, "long")
