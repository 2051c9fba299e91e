"""Labels of flows: what the generator writes as ground truth, the model learns, and alerts are named by.

The alert identity follows from ``kind``: scans are one alert per source, floods per target, brute force and what repeats (beacons,
tunnels, injection, exfiltration) per source and target, everything else one per flow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["benign", "scan", "flood", "brute-force", "repeated", "per-flow"]
KINDS: tuple[str, ...] = get_args(Kind)
#: Kinds of which one flow is an alert, when it has closed or was looked at ``alerts.min_looks`` times; of the others, ``alerts.min_flows``
#: flows are (:class:`infra.sections.AlertSettings`).
AT_ONCE: frozenset[str] = frozenset({"repeated", "per-flow"})
#: Kind of what is an attack by coming again: one flow of it says less (:func:`schemas.alerts.severity`).
REPEATED: Kind = "repeated"
#: Kind of the alert that counts what is too much to be alerts of their own (:mod:`jobs.sinks.storms`); of no label.
STORM = "storm"
#: What kinds were called once: in rows and evidence that were written then, and in people's scripts.
FORMER_KINDS: dict[str, str] = {"guessing": "brute-force"}


#: What an attacker is about: looking around, getting in, keeping control of what he has, carrying data away, breaking a service.
Stage = Literal["", "reconnaissance", "break-in", "control", "theft", "impact"]
STAGES: tuple[str, ...] = get_args(Stage)


@dataclass(frozen=True)
class Label:
    """One label: its name, the class of alert identity, default severity (0 benign, 1 low .. 5 critical), a short description.

    ``stage`` says to what an incident relates it (:mod:`jobs.incidents.stories`; empty: to its own kind alone), ``technique`` its id
    in MITRE ATT&CK (https://attack.mitre.org), and ``check`` what a person looks at next.
    """

    name: str
    kind: Kind
    severity: int
    description: str
    stage: Stage = ""
    technique: str = ""
    check: str = ""

    @property
    def by_repetition(self) -> bool:
        """Whether it is an attack by coming again: a single flow says little. One upload of data is enough."""
        return self.kind == REPEATED and self.stage != "theft"


LABELS: tuple[Label, ...] = (
    Label("BENIGN", "benign", 0, "ordinary traffic"),
    Label(
        "SYN_SCAN",
        "scan",
        2,
        "half-open TCP port scan: SYN, answered by SYN-ACK or RST, never completed",
        "reconnaissance",
        "T1046",
        "which ports answered, and whether the source came back to them",
    ),
    Label(
        "CONNECT_SCAN",
        "scan",
        2,
        "TCP port scan with full handshakes",
        "reconnaissance",
        "T1046",
        "which ports answered, and whether the source came back to them",
    ),
    Label(
        "UDP_SCAN",
        "scan",
        2,
        "UDP port scan, closed ports answer with ICMP port unreachable",
        "reconnaissance",
        "T1046",
        "which ports gave no ICMP answer: they are open or filtered",
    ),
    Label(
        "SLOW_SCAN",
        "scan",
        3,
        "TCP port scan with long pauses between probes",
        "reconnaissance",
        "T1046",
        "how long the source has been at it: ask the lake for the weeks before",
    ),
    Label(
        "SYN_FLOOD",
        "flood",
        5,
        "TCP SYNs from many (forged) sources against one service",
        "impact",
        "T1498.001",
        "whether the service answers; SYN cookies; upstream filtering by target",
    ),
    Label(
        "UDP_FLOOD",
        "flood",
        5,
        "UDP datagrams at a high rate against one host",
        "impact",
        "T1498.001",
        "whether the link is full; upstream filtering by target and port",
    ),
    Label(
        "HTTP_FLOOD",
        "flood",
        4,
        "HTTP requests at a high rate against one web server",
        "impact",
        "T1499.002",
        "the server's access log: which page, which user agent; rate limits by source",
    ),
    Label(
        "SLOWLORIS",
        "flood",
        4,
        "many HTTP connections held open by headers sent in drops",
        "impact",
        "T1499.002",
        "open connections of the server by source; its timeout for request headers",
    ),
    Label(
        "SSH_BRUTE_FORCE",
        "brute-force",
        4,
        "repeated SSH password attempts",
        "break-in",
        "T1110.001",
        "the target's authentication log: was there a login that worked?",
    ),
    Label(
        "FTP_BRUTE_FORCE",
        "brute-force",
        4,
        "repeated FTP password attempts",
        "break-in",
        "T1110.001",
        "the server's log: was there a login that worked, and what was fetched?",
    ),
    Label(
        "WEB_INJECTION",
        "repeated",
        4,
        "bursts of SQL injection or cross-site scripting requests against web forms",
        "break-in",
        "T1190",
        "the web server's log around these requests: answers with status 200 and of unusual size",
    ),
    Label(
        "BOTNET_BEACON",
        "repeated",
        5,
        "periodic short exchanges with a command-and-control server",
        "control",
        "T1071.001",
        "the process behind the connections on the source; who else talks to the target",
    ),
    Label(
        "DNS_TUNNEL",
        "repeated",
        4,
        "data carried in DNS queries and answers",
        "control",
        "T1071.004",
        "the names that were asked; which process of the source asks them",
    ),
    Label(
        "EXFILTRATION",
        "repeated",
        5,
        "slow upload of data to an outside host",
        "theft",
        "T1048",
        "how much went out, of which process and user, and what the target is",
    ),
)

#: What is no attack that a classifier knows, and unlike all that is benign (:mod:`jobs.scoring.novelty`). No record is labelled so.
UNKNOWN = Label(
    "UNKNOWN",
    "repeated",
    3,
    "unlike the benign traffic of the training, and like no attack in it",
    check="which of its values are unusual, and what the two hosts have in common; label it, so that the next model knows",
)

BENIGN = LABELS[0].name
#: What CICFlowMeter and our meter write into the column ``Label`` where nobody knows better: no label.
UNLABELLED = "NeedManualLabel"
#: What programs write where nothing is said, in lower case; the text of a floating-point number that is none among them.
NOTHING: frozenset[str] = frozenset({"", "nan", "none", "null", "<na>", "n/a", "inf", "-inf", UNLABELLED.lower()})
NAMES: tuple[str, ...] = tuple(label.name for label in LABELS)
ATTACKS: tuple[str, ...] = (*NAMES[1:], UNKNOWN.name)
BY_NAME: dict[str, Label] = {label.name: label for label in (*LABELS, UNKNOWN)}


def kind_named(name: str) -> str:
    """The kind of this name, which may be a former one; any other text as it is."""
    return FORMER_KINDS.get(name, name)
