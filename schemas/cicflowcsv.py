"""Flows in CSV files of other systems: CICFlowMeter's names, old and new, and those of scripts that were built upon it.

CICFlowMeter has spelt its columns in three ways (``Total Length of Fwd Packets``, ``TotLen Fwd Pkts``, ``Total Length of Fwd Packet``),
scripts have added theirs. The words are the same, their order and endings differ: a name is compared as the sorted list of its words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from schemas.features import ALL_FEATURES, FEATURE_NAMES
from schemas.labels import BENIGN
from schemas.network_flows import COLUMNS
from schemas.records import CsvNames

#: Spellings of one word; empty: says nothing. Whatever is not named is itself.
_WORDS = {
    **dict.fromkeys(("packets", "pkts", "pkt"), "packet"),
    **dict.fromkeys(("bytes", "byts", "byt"), "byte"),
    **dict.fromkeys(("length", "len"), "length"),
    **dict.fromkeys(("total", "tot"), "total"),
    **dict.fromkeys(("count", "cnt"), "count"),
    **dict.fromkeys(("variance", "var"), "variance"),
    **dict.fromkeys(("average", "avg"), "average"),
    **dict.fromkeys(("backward", "bwd"), "bwd"),
    **dict.fromkeys(("forward", "fwd"), "fwd"),
    **dict.fromkeys(("segment", "seg"), "segment"),
    **dict.fromkeys(("bulk", "blk", "b"), "bulk"),
    **dict.fromkeys(("second", "seconds", "sec", "s"), "second"),
    **dict.fromkeys(("source", "src"), "src"),
    **dict.fromkeys(("destination", "dst", "dest"), "dst"),
    **dict.fromkeys(("address", "addr", "ip"), "ip"),
    **dict.fromkeys(("flags", "flag"), "flag"),
    **dict.fromkeys(("maximum", "max"), "max"),
    **dict.fromkeys(("minimum", "min"), "min"),
    "cwe": "cwr",  # as CICFlowMeter misspells it
    "totlen": "total length",
    **dict.fromkeys(("of", "per", "the"), ""),
}

#: The 20 features of the reference's ``TOP_FEATURES``, in the order of its table.
TOP_FEATURES: tuple[str, ...] = tuple(column.name for column in COLUMNS if column.name in FEATURE_NAMES)

#: Attacks by the names that the data sets of the Canadian Institute for Cybersecurity give them. Others keep their own.
LABELS: dict[str, str] = {
    **dict.fromkeys(("benign", "normal"), BENIGN),
    **dict.fromkeys(("bot", "botnet"), "BOTNET_BEACON"),
    **dict.fromkeys(("ddos", "dos goldeneye", "dos hulk"), "HTTP_FLOOD"),
    **dict.fromkeys(("dos slowhttptest", "dos slowloris"), "SLOWLORIS"),
    **dict.fromkeys(("ftp-patator", "ftp-bruteforce"), "FTP_BRUTE_FORCE"),
    **dict.fromkeys(("ssh-patator", "ssh-bruteforce"), "SSH_BRUTE_FORCE"),
    **dict.fromkeys(("portscan", "infiltration - portscan"), "SYN_SCAN"),
    **dict.fromkeys(("web attack - brute force", "web attack - sql injection", "web attack - xss"), "WEB_INJECTION"),
}


@lru_cache(maxsize=4096)  # names come from other systems: a bound
def canonical(name: str) -> str:
    """A column's name as its sorted words: ``TotLen Fwd Pkts`` and ``total_length_fwd_packets`` are one.

    Examples
    --------
    >>> canonical(" Total Length of Fwd Packets")
    'fwd length packet total'
    """
    words = re.findall(r"[a-z]+|\d+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name.strip()).lower())
    return " ".join(sorted(" ".join(_WORDS.get(word, word) for word in words).split()))


def _complete(columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """The end of a flow, from its start and duration, and the version of its addresses."""
    start, duration = columns["start_time"], columns.get("flow_duration")
    found = {"ip_version": pc.if_else(pc.match_substring(columns["src_ip"], ":"), pa.scalar(6, pa.int8()), pa.scalar(4, pa.int8()))}
    if duration is not None:
        # CICFlowMeter's defects, negative and endless durations, are kept as values, but make no time.
        sane = pc.if_else(pc.and_(pc.greater(duration, 0), pc.less(duration, _YEAR_US)), duration, pa.scalar(0, pa.int64()))
        found["end_time"] = pc.add(start.cast(pa.int64()), sane).cast(start.type)
    return found


_YEAR_US = 365 * 86_400_000_000
_PORT = (0, 65_535)

CSV = CsvNames(
    canonical=canonical,
    others={
        "start_time": ("Timestamp", "Time", "Date"),
        "predicted_label": ("Predicted_Label", "Prediction", "Label"),
        "confidence_score": ("Confidence_Score", "Confidence", "Probability"),
        "src_ip": ("Src IP", "Source IP"),
        "dst_ip": ("Dst IP", "Destination IP"),
        "src_port": ("Src Port", "Source Port"),
        "dst_port": ("Dst Port", "Destination Port"),
        "protocol": ("Protocol", "Proto"),
        **{feature.name: (feature.cic,) for feature in ALL_FEATURES},
    },
    layouts={"reference": ("start_time", *TOP_FEATURES, "predicted_label", "confidence_score")},
    # What a file of 20 features cannot know. The unspecified address is nobody's.
    defaults={
        "src_ip": "0.0.0.0",
        "dst_ip": "0.0.0.0",
        "src_port": 0,
        "dst_port": 0,
        "protocol": 0,
        "community_id": "",
        "tcp_state": "",
        "vlan_ids": "",
        "tunnel": "",
        "closed": True,
        "part": 0,
        "domain": "migrated",
        "feature_version": "migrated",
    },
    # CICFlowMeter divides by a duration of zero.
    undefined={feature.name: 0.0 for feature in ALL_FEATURES if feature.undefined == "D = 0: 0"},
    labels=LABELS,
    words={"protocol": {"tcp": "6", "udp": "17", "icmp": "1", "igmp": "2", "gre": "47", "esp": "50", "icmpv6": "58", "sctp": "132"}},
    bounds={"src_port": _PORT, "dst_port": _PORT, "protocol": (0, 255)},
    complete=_complete,
)
