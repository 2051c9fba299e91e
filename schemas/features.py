"""The feature table: one row for every feature of a flow record, in the order of CICFlowMeter's CSV.

Column names for people (``cic``) are those of the corrected CIC-IDS2017 files, to the letter; ``name`` is the snake_case name
used in SQL, Parquet and Python. Definitions: Lashkari et al., CICFlowMeter, with the repairs of Liu, Engelen et al. (CNS 2022).
The values are computed in :mod:`jobs.metering.features`, from this table's names.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.rules import LARGEST, Constraint, Range, ordered

#: Version of the meaning of these columns. A model stores it; a mismatch stops scoring before the first packet.
FEATURE_VERSION = "1"


@dataclass(frozen=True)
class Feature:
    """One feature: names, type (``int`` = 64 bit, ``float`` = double), unit, definition, value where undefined."""

    name: str
    cic: str
    kind: str  # "int" | "float"
    unit: str
    formula: str
    undefined: str = "0"

    @property
    def valid(self) -> tuple[float, float]:
        """Smallest and largest value that it can have: all count or measure something, but for raw fields of a header."""
        if self.unit == "raw 16 bit":
            return 0, 65_535
        return (0, LARGEST) if self.unit else (-1, 255)  # without unit: an octet of ICMP, -1 where there is none


def _stats(prefix: str, cic: str, unit: str, what: str, order: str = "mean std max min", ints: str = "max min total") -> list[Feature]:
    words = {
        "total": "sum",
        "mean": "mean",
        "std": "sample standard deviation (n - 1)",
        "max": "maximum",
        "min": "minimum",
    }
    return [
        Feature(f"{prefix}_{s}", f"{cic} {s.capitalize()}", "int" if s in ints.split() else "float", unit, f"{words[s]} of {what}")
        for s in order.split()
    ]


_PKT_F = "payload bytes per forward packet"
_PKT_B = "payload bytes per backward packet"
_LEN_ORDER = "max min mean std"

FEATURES: tuple[Feature, ...] = (
    Feature("flow_duration", "Flow Duration", "int", "us", "tN - t1"),
    Feature("total_fwd_packets", "Total Fwd Packet", "int", "packets", "nF"),
    Feature("total_backward_packets", "Total Bwd packets", "int", "packets", "nB"),
    Feature("total_length_fwd_packets", "Total Length of Fwd Packet", "int", "B", "SF, sum of forward payload"),
    Feature("total_length_bwd_packets", "Total Length of Bwd Packet", "int", "B", "SB, sum of backward payload"),
    *_stats("fwd_packet_length", "Fwd Packet Length", "B", _PKT_F, _LEN_ORDER),
    *_stats("bwd_packet_length", "Bwd Packet Length", "B", _PKT_B, _LEN_ORDER),
    Feature("flow_bytes_per_sec", "Flow Bytes/s", "float", "B/s", "(SF + SB) / (D / 1e6)", "D = 0: 0"),
    Feature("flow_packets_per_sec", "Flow Packets/s", "float", "packets/s", "N / (D / 1e6)", "D = 0: 0"),
    *_stats("flow_iat", "Flow IAT", "us", "time between consecutive packets, both directions"),
    *_stats("fwd_iat", "Fwd IAT", "us", "time between consecutive forward packets", "total mean std max min"),
    *_stats("bwd_iat", "Bwd IAT", "us", "time between consecutive backward packets", "total mean std max min"),
    Feature("fwd_psh_flags", "Fwd PSH Flags", "int", "packets", "forward packets with PSH"),
    Feature("bwd_psh_flags", "Bwd PSH Flags", "int", "packets", "backward packets with PSH"),
    Feature("fwd_urg_flags", "Fwd URG Flags", "int", "packets", "forward packets with URG"),
    Feature("bwd_urg_flags", "Bwd URG Flags", "int", "packets", "backward packets with URG"),
    Feature("fwd_rst_flags", "Fwd RST Flags", "int", "packets", "forward packets with RST"),
    Feature("bwd_rst_flags", "Bwd RST Flags", "int", "packets", "backward packets with RST"),
    Feature("fwd_header_length", "Fwd Header Length", "int", "B", "sum of forward L4 header bytes"),
    Feature("bwd_header_length", "Bwd Header Length", "int", "B", "sum of backward L4 header bytes"),
    Feature("fwd_packets_per_sec", "Fwd Packets/s", "float", "packets/s", "nF / (D / 1e6)", "D = 0: 0"),
    Feature("bwd_packets_per_sec", "Bwd Packets/s", "float", "packets/s", "nB / (D / 1e6)", "D = 0: 0"),
    Feature("min_packet_length", "Packet Length Min", "int", "B", "minimum payload over all packets"),
    Feature("max_packet_length", "Packet Length Max", "int", "B", "maximum payload over all packets"),
    Feature("packet_length_mean", "Packet Length Mean", "float", "B", "mean payload over all packets"),
    Feature("packet_length_std", "Packet Length Std", "float", "B", "sample standard deviation of payload over all packets"),
    Feature("packet_length_variance", "Packet Length Variance", "float", "B^2", "sample variance of payload over all packets"),
    Feature("fin_flag_count", "FIN Flag Count", "int", "packets", "packets with FIN"),
    Feature("syn_flag_count", "SYN Flag Count", "int", "packets", "packets with SYN"),
    Feature("rst_flag_count", "RST Flag Count", "int", "packets", "packets with RST"),
    Feature("psh_flag_count", "PSH Flag Count", "int", "packets", "packets with PSH"),
    Feature("ack_flag_count", "ACK Flag Count", "int", "packets", "packets with ACK"),
    Feature("urg_flag_count", "URG Flag Count", "int", "packets", "packets with URG"),
    Feature("cwr_flag_count", "CWR Flag Count", "int", "packets", "packets with CWR"),
    Feature("ece_flag_count", "ECE Flag Count", "int", "packets", "packets with ECE"),
    Feature("down_up_ratio", "Down/Up Ratio", "float", "ratio", "nB / nF", "nF = 0: 0"),
    Feature("average_packet_size", "Average Packet Size", "float", "B", "(SF + SB) / N"),
    Feature("fwd_segment_size_avg", "Fwd Segment Size Avg", "float", "B", "SF / nF"),
    Feature("bwd_segment_size_avg", "Bwd Segment Size Avg", "float", "B", "SB / nB"),
    Feature("fwd_bytes_bulk_avg", "Fwd Bytes/Bulk Avg", "float", "B", "bulk bytes / number of bulks, forward"),
    Feature("fwd_packet_bulk_avg", "Fwd Packet/Bulk Avg", "float", "packets", "bulk packets / number of bulks, forward"),
    Feature("fwd_bulk_rate_avg", "Fwd Bulk Rate Avg", "float", "B/s", "bulk bytes / bulk seconds, forward"),
    Feature("bwd_bytes_bulk_avg", "Bwd Bytes/Bulk Avg", "float", "B", "bulk bytes / number of bulks, backward"),
    Feature("bwd_packet_bulk_avg", "Bwd Packet/Bulk Avg", "float", "packets", "bulk packets / number of bulks, backward"),
    Feature("bwd_bulk_rate_avg", "Bwd Bulk Rate Avg", "float", "B/s", "bulk bytes / bulk seconds, backward"),
    Feature("subflow_fwd_packets", "Subflow Fwd Packets", "float", "packets", "nF / k, k = 1 + number of gaps > 1 s"),
    Feature("subflow_fwd_bytes", "Subflow Fwd Bytes", "float", "B", "SF / k"),
    Feature("subflow_bwd_packets", "Subflow Bwd Packets", "float", "packets", "nB / k"),
    Feature("subflow_bwd_bytes", "Subflow Bwd Bytes", "float", "B", "SB / k"),
    Feature("fwd_init_win_bytes", "FWD Init Win Bytes", "int", "raw 16 bit", "TCP window of the first forward packet"),
    Feature("bwd_init_win_bytes", "Bwd Init Win Bytes", "int", "raw 16 bit", "TCP window of the first backward packet"),
    Feature("fwd_act_data_pkts", "Fwd Act Data Pkts", "int", "packets", "forward packets with payload >= 1, the first included"),
    Feature("fwd_seg_size_min", "Fwd Seg Size Min", "int", "B", "minimum forward L4 header bytes"),
    *_stats("active", "Active", "us", "active spans (threshold 5 s)"),
    *_stats("idle", "Idle", "us", "idle gaps (threshold 5 s)"),
    Feature("icmp_code", "ICMP Code", "int", "", "code of the first packet", "-1"),
    Feature("icmp_type", "ICMP Type", "int", "", "type of the first packet", "-1"),
    Feature(
        "total_tcp_flow_time", "Total TCP Flow Time", "int", "us", "TCP: last packet of this record - first of the connection", "not TCP: 0"
    ),
)

#: Features that CICFlowMeter's CSV has no column for; ours, behind its columns.
EXTRA_FEATURES: tuple[Feature, ...] = (
    Feature("bwd_act_data_pkts", "Bwd Act Data Pkts", "int", "packets", "backward packets with payload >= 1"),
    Feature("bwd_seg_size_min", "Bwd Seg Size Min", "int", "B", "minimum backward L4 header bytes"),
)

ALL_FEATURES: tuple[Feature, ...] = FEATURES + EXTRA_FEATURES
FEATURE_NAMES: tuple[str, ...] = tuple(f.name for f in ALL_FEATURES)

#: Duplicates of another feature, or functions of it: left out before features are chosen for a model.
REDUNDANT_FEATURES: frozenset[str] = frozenset(
    {"fwd_segment_size_avg", "bwd_segment_size_avg", "average_packet_size", "packet_length_variance", "total_tcp_flow_time"}
)

#: What holds of every flow's features: their valid ranges, and that a mean lies between its least and its greatest value.
FEATURE_RULES: tuple[Constraint, ...] = (
    *(Range(f.name, *f.valid) for f in ALL_FEATURES),
    *(
        rule
        for prefix in ("fwd_packet_length", "bwd_packet_length", "flow_iat", "fwd_iat", "bwd_iat", "active", "idle")
        for rule in ordered(f"{prefix}_min", f"{prefix}_mean", f"{prefix}_max")
    ),
    *ordered("min_packet_length", "packet_length_mean", "max_packet_length"),
)
