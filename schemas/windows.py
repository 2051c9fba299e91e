"""Windows per source: the columns of a record, as Arrow types, and what they mean.

A window is what one source began in one span of 5, 30 or 180 seconds, in one observation domain: its packets and those that came back, by
the slots into which they fell. Values are computed in :mod:`jobs.windows.features`, from this table's names.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

#: Version of the meaning of the columns.
WINDOW_VERSION = "1"
#: Sizes, seconds. Each is made of records of the first.
SIZES: tuple[int, ...] = (5, 30, 180)

_TS = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class WindowFeature:
    """One feature: name, unit (empty: a ratio), definition. ``exact``: a window has what its 5 s records give, however they were cut."""

    name: str
    unit: str
    formula: str
    exact: bool = True


def _series(name: str, unit: str, what: str) -> tuple[WindowFeature, ...]:
    words = {"min": "least", "max": "largest", "mean": "mean", "std": "standard deviation (n)"}
    return tuple(
        WindowFeature(f"part_{name}_{short}", unit, f"{word} {what} of its 5 s records" + ("; 0 where one is missing" * (short == "min")))
        for short, word in words.items()
    )


#: "out" is from the source, which began the flow; "in" is to it.
WINDOW_FEATURES: tuple[WindowFeature, ...] = (
    WindowFeature("packets_out", "packets", "packets out"),
    WindowFeature("packets_in", "packets", "packets in"),
    WindowFeature("bytes_out", "B", "bytes of IP packets out"),
    WindowFeature("bytes_in", "B", "bytes of IP packets in"),
    WindowFeature("flows_started", "flows", "flows whose first packet fell into the window"),
    WindowFeature("tcp_started", "flows", "those of TCP"),
    WindowFeature("udp_started", "flows", "those of UDP"),
    WindowFeature("syn_count", "packets", "SYN without ACK, out"),
    WindowFeature("rst_in_count", "packets", "RST, in"),
    WindowFeature("destinations", "addresses", "distinct destination addresses", exact=False),
    WindowFeature("ports", "ports", "distinct destination ports, by protocol", exact=False),
    WindowFeature("pairs", "pairs", "distinct pairs of destination address and port", exact=False),
    WindowFeature("destination_entropy", "bit", "Shannon entropy of the packets over destination addresses", exact=False),
    WindowFeature("port_entropy", "bit", "Shannon entropy of the packets over destination ports", exact=False),
    WindowFeature("fan_out", "", "pairs / flows_started", exact=False),
    WindowFeature("ports_per_destination", "", "pairs / destinations", exact=False),
    WindowFeature("flows_per_pair", "", "flows_started / pairs", exact=False),
    WindowFeature("failed_ratio", "", "(SYN out - SYN+ACK in) / SYN out, at least 0"),
    WindowFeature("syn_ratio", "", "SYN out / packets"),
    WindowFeature("ack_out_ratio", "", "ACK out / packets out"),
    WindowFeature("ack_in_ratio", "", "ACK in / packets in"),
    WindowFeature("fin_out_ratio", "", "FIN out / packets out"),
    WindowFeature("fin_in_ratio", "", "FIN in / packets in"),
    WindowFeature("rst_out_ratio", "", "RST out / packets out"),
    WindowFeature("rst_in_ratio", "", "RST in / packets in"),
    WindowFeature("data_out_ratio", "", "packets with payload out / packets out"),
    WindowFeature("data_in_ratio", "", "packets with payload in / packets in"),
    WindowFeature("up_down_ratio", "", "bytes out / bytes in"),
    WindowFeature("packet_size_out", "B", "bytes out / packets out"),
    WindowFeature("packet_size_in", "B", "bytes in / packets in"),
    WindowFeature("packets_per_flow", "packets", "packets / flows_started"),
    WindowFeature("tcp_ratio", "", "packets of TCP / packets"),
    WindowFeature("udp_ratio", "", "packets of UDP / packets"),
    WindowFeature("icmp_ratio", "", "packets of ICMP and ICMPv6 / packets"),
    WindowFeature("span_s", "s", "last packet - first packet"),
    WindowFeature("rhythm", "", "regularity of the most regular pair's starts, by 5 s slots, 0 .. 1", exact=False),
    WindowFeature("parts", "records", "5 s records in it"),
    *_series("packets", "packets", "packets"),
    *_series("bytes", "B", "bytes"),
    *_series("started", "flows", "flows started"),
    WindowFeature(
        "new_destination_ratio", "", "share of the destinations that the source had not spoken to in the hour before", exact=False
    ),
    *(
        WindowFeature(name, unit, f"{words}; of 180 s alone", exact=False)
        for name, unit, words in (
            (
                "source_age",
                "s",
                "since the source first began a flow in the last hour; 3600 where no start is remembered",
            ),
            ("steady_pairs", "pairs", "pairs of TCP to which connections that were answered began at regular times in the last hour"),
            ("beats", "slots", "5 s slots of the hour in which connections to the youngest steady pair began, four or more"),
            ("beat_score", "", "how steady: (1 - 1 / beats) / (1 + std / mean of the gaps between them), above 0.7"),
            ("beat_period", "s", "mean of the gaps"),
            ("beat_age", "s", "since the first of them; at most an hour"),
            ("beat_missed", "periods", "from the source's first flow in the hour to the first beat: how often it could have beaten before"),
            ("beat_packets", "packets", "packets of the pair in this window / its flows started"),
            ("beat_bytes_out", "B", "bytes to it in this window / its flows started"),
            ("beat_bytes_in", "B", "bytes from it in this window / its flows started"),
        )
    ),
)
WINDOW_NAMES: tuple[str, ...] = tuple(feature.name for feature in WINDOW_FEATURES)

WINDOW_SCHEMA = pa.schema(
    [
        pa.field("window_id", pa.string(), nullable=False),  # UUID, deterministic: domain, size, source, start
        pa.field("window_size", pa.int16(), nullable=False),  # seconds
        pa.field("domain", pa.string(), nullable=False),  # observation domain
        pa.field("ip_version", pa.int8(), nullable=False),
        pa.field("src_ip", pa.string(), nullable=False),
        pa.field("src_prefix", pa.int16(), nullable=False),  # bits; fewer than 32 or 128: a network, of which src_ip is the first address
        pa.field("part", pa.int16(), nullable=False),  # of a network that was summed up: it has a window in each bucket; else 0
        pa.field("window_start", _TS, nullable=False),
        pa.field("window_end", _TS, nullable=False),  # the first moment after it
        pa.field("last_packet", _TS, nullable=False),  # capture time of the last packet in it
        pa.field("complete", pa.int8(), nullable=False),  # 1: every 5 s slot has a record
        pa.field("window_version", pa.string(), nullable=False),  # WINDOW_VERSION
        *(pa.field(name, pa.float64(), nullable=False) for name in WINDOW_NAMES),
    ]
)

#: What windows of the larger sizes are made of: counters and samples of a 5 s record as they are,
#: as a text (:mod:`jobs.windows.storedsummary`).
SUMMARY = "summary"


def schema_of(size: int) -> pa.Schema:
    """Columns of a record of one size: :data:`WINDOW_SCHEMA`, of the smallest :data:`SUMMARY` too."""
    return WINDOW_SCHEMA.append(pa.field(SUMMARY, pa.string(), nullable=False)) if size == SIZES[0] else WINDOW_SCHEMA
