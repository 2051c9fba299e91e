"""Short ways to write a conversation between two hosts as frames."""

from __future__ import annotations

from tests.oracle.craft import ethernet, ip, packet, tcp
from tests.oracle.meter import Frame
from tests.oracle.parse import ACK, CWR, ECE, FIN, PSH, RST, SYN, TCP, URG

A, B = "10.0.0.1", "10.0.0.2"
SPORT, DPORT = 40000, 80
#: 2023-11-14 22:13:20 UTC, in seconds.
EPOCH = 1_700_000_000
FLAGS = {"F": FIN, "S": SYN, "R": RST, "P": PSH, "A": ACK, "U": URG, "E": ECE, "C": CWR}


def at(seconds: float) -> int:
    """Capture time in ns, ``seconds`` after :data:`EPOCH` (to the microsecond)."""
    return EPOCH * 1_000_000_000 + round(seconds * 1_000_000) * 1000


def bits(letters: str) -> int:
    return sum(FLAGS[c] for c in letters)


def fwd(
    seconds: float, flags: str = "A", payload: int = 0, *, window: int = 1000, options: int = 0, sport: int = SPORT, seq: int = 1
) -> Frame:
    """A TCP packet from A to B."""
    segment = tcp(sport, DPORT, bits(flags), payload, window=window, options=options, seq=seq)
    return Frame(at(seconds), ethernet(ip(A, B, TCP, segment)))


def bwd(
    seconds: float, flags: str = "A", payload: int = 0, *, window: int = 2000, options: int = 0, sport: int = SPORT, seq: int = 1
) -> Frame:
    """A TCP packet from B to A."""
    segment = tcp(DPORT, sport, bits(flags), payload, window=window, options=options, seq=seq)
    return Frame(at(seconds), ethernet(ip(B, A, TCP, segment)))


def of(seconds: float, src: str, dst: str, proto: int, sport: int = 0, dport: int = 0, payload: int = 0, **ipargs: object) -> Frame:
    """A packet of any protocol in an Ethernet frame."""
    return Frame(at(seconds), ethernet(packet(src, dst, proto, sport, dport, payload, **ipargs)))
