"""Labels of flows: what the generator writes as ground truth, the model learns, and alerts are named by.

The alert identity follows from ``kind``: scans are one alert per source, floods per target, brute force and what repeats (beacons,
tunnels, injection, exfiltration) per source and target, everything else one per flow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["benign", "scan", "flood", "brute-force", "repeated", "per-flow"]
KINDS: tuple[str, ...] = get_args(Kind)
#: Kinds of which one flow is an alert; of the others, :attr:`infra.sections.AlertSettings.min_flows` are.
AT_ONCE: frozenset[str] = frozenset({"repeated", "per-flow"})
#: What kinds were called once: in rows and evidence that were written then, and in people's scripts.
FORMER_KINDS: dict[str, str] = {"guessing": "brute-force"}


@dataclass(frozen=True)
class Label:
    """One label: its name, the class of alert identity, default severity (0 benign, 1 low .. 5 critical), a short description."""

    name: str
    kind: Kind
    severity: int
    description: str


LABELS: tuple[Label, ...] = (
    Label("BENIGN", "benign", 0, "ordinary traffic"),
    Label("SYN_SCAN", "scan", 2, "half-open TCP port scan: SYN, answered by SYN-ACK or RST, never completed"),
    Label("CONNECT_SCAN", "scan", 2, "TCP port scan with full handshakes"),
    Label("UDP_SCAN", "scan", 2, "UDP port scan, closed ports answer with ICMP port unreachable"),
    Label("SLOW_SCAN", "scan", 3, "TCP port scan with long pauses between probes"),
    Label("SYN_FLOOD", "flood", 5, "TCP SYNs from many (forged) sources against one service"),
    Label("UDP_FLOOD", "flood", 5, "UDP datagrams at a high rate against one host"),
    Label("HTTP_FLOOD", "flood", 4, "HTTP requests at a high rate against one web server"),
    Label("SLOWLORIS", "flood", 4, "many HTTP connections held open by headers sent in drops"),
    Label("SSH_BRUTE_FORCE", "brute-force", 4, "repeated SSH password attempts"),
    Label("FTP_BRUTE_FORCE", "brute-force", 4, "repeated FTP password attempts"),
    Label("WEB_INJECTION", "repeated", 4, "bursts of SQL injection or cross-site scripting requests against web forms"),
    Label("BOTNET_BEACON", "repeated", 5, "periodic short exchanges with a command-and-control server"),
    Label("DNS_TUNNEL", "repeated", 4, "data carried in DNS queries and answers"),
    Label("EXFILTRATION", "repeated", 5, "slow upload of data to an outside host"),
)

BENIGN = LABELS[0].name
NAMES: tuple[str, ...] = tuple(label.name for label in LABELS)
ATTACKS: tuple[str, ...] = NAMES[1:]
BY_NAME: dict[str, Label] = {label.name: label for label in LABELS}


def kind_named(name: str) -> str:
    """The kind of this name, which may be a former one; any other text as it is."""
    return FORMER_KINDS.get(name, name)
