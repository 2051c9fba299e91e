"""The features of windows (:data:`schemas.windows.WINDOW_FEATURES`): numbers of a summary, their ratios, how they spread.

Vectorised. An undefined ratio is 0, as of flows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from jobs.windows.recalling import gaps_of_rings
from jobs.windows.slots import SECONDS
from jobs.windows.summary import ADDRESSES, COARSE, PAIRS, PORTS, SERIES, SLOTS, Summaries
from schemas.windows import WINDOW_NAMES

Floats = npt.NDArray[np.float64]
#: Flows to one destination and port that make a rhythm.
_BEATS = 3


def features(windows: Summaries) -> dict[str, Floats]:
    """Every feature by its name, float64[n]."""
    return {name: np.asarray(_COMPUTE[name](windows), np.float64) for name in WINDOW_NAMES}


def entropy(windows: Summaries, kind: int) -> Floats:
    """Shannon entropy (bits) of the packets over destinations, ports or pairs, float64[n].

    Exact where all are kept. Where a sample is, its share of the packets and its entropy stand for all: each value in the sample was drawn
    with the same probability, so the sum over it times ``distinct / k`` estimates the sum over all.
    """
    at = windows.of_kind[kind]
    row = windows.items["row"][at]
    share = windows.items["packets"][at] / np.maximum(_packets(windows)[row], 1.0)
    each = np.bincount(row, -share * np.log2(np.where(share > 0, share, 1.0)), minlength=len(windows))
    kept = np.bincount(row, minlength=len(windows))
    return np.asarray(each * windows.distinct[kind] / np.maximum(kept, 1))


def rhythm(windows: Summaries) -> Floats:
    """How regular the most regular of the source's pairs of destination and port is, float64[n] in [0, 1].

    Of the gaps between the slots in which flows to a pair began, three at least: ``1 / (1 + std / mean)``, weighted by how many there are.
    0 where no pair has as many. A pair with a flow in every slot is no rhythm but traffic: its gaps say nothing, and count half.
    """
    found = np.zeros(len(windows))
    when = windows.items["when"][windows.of_kind[PAIRS]]
    often = np.flatnonzero(np.bitwise_count(when) >= _BEATS)
    beats, first, total, squares = (np.zeros(len(often), np.int64) for _ in range(4))
    gaps_of_rings(when[:, None], np.zeros(len(when), np.int64), often, SLOTS, beats, first, total, squares)
    mean = total / (beats - 1)
    variance = np.maximum(squares / (beats - 1) - mean**2, 0.0)
    score = (1 - 1 / beats) / (1 + np.sqrt(variance) / mean)
    np.maximum.at(found, windows.items["row"][windows.of_kind[PAIRS][often]], np.where(mean <= 1, score / 2, score))
    return found


def _ratio(above: str, below: str) -> Callable[[Summaries], Floats]:
    def compute(windows: Summaries) -> Floats:
        return np.asarray(windows.rows[above] / np.maximum(windows.rows[below], 1))

    return compute


def _count(name: str) -> Callable[[Summaries], Floats]:
    return lambda windows: windows.rows[name].astype(np.float64)


def _packets(windows: Summaries) -> Floats:
    return np.asarray(windows.rows["packets_out"] + windows.rows["packets_in"], np.float64)


def _share(name: str) -> Callable[[Summaries], Floats]:
    return lambda windows: np.asarray(windows.rows[name] / np.maximum(_packets(windows), 1.0))


def _failed(windows: Summaries) -> Floats:
    """Share of the source's SYNs that nobody accepted."""
    rows = windows.rows
    return np.asarray(np.clip(rows["syn"] - rows["syn_ack"], 0, None) / np.maximum(rows["syn"], 1))


def _mean(name: str) -> Callable[[Summaries], Floats]:
    return lambda windows: np.asarray(windows.rows[f"{name}_sum"] / np.maximum(windows.rows["parts"], 1))


def _std(name: str) -> Callable[[Summaries], Floats]:
    def compute(windows: Summaries) -> Floats:
        n = np.maximum(windows.rows["parts"], 1)
        mean = windows.rows[f"{name}_part"] / n
        return np.asarray(np.sqrt(np.maximum(windows.rows[f"{name}_sq"] / n - mean**2, 0.0)) * 2.0 ** COARSE[name])

    return compute


def _recalled(name: str) -> Callable[[Summaries], Floats]:
    return lambda windows: np.asarray(windows.rows[name])


def _span(windows: Summaries) -> Floats:
    return np.asarray((windows.rows["last"] - windows.rows["first"]) / 1e6)


_BEAT = ("beats", "beat_score", "beat_missed", "beat_packets", "beat_bytes_out", "beat_bytes_in")

#: By name. What they are made of merges exactly, so a window of 30 s has the features that its six records of 5 s give, and no others.
_COMPUTE: dict[str, Callable[[Summaries], Floats]] = {
    "packets_out": _count("packets_out"),
    "packets_in": _count("packets_in"),
    "bytes_out": _count("bytes_out"),
    "bytes_in": _count("bytes_in"),
    "flows_started": _count("flows_started"),
    "tcp_started": _count("tcp_started"),
    "udp_started": _count("udp_started"),
    "syn_count": _count("syn"),
    "rst_in_count": _count("rst_in"),
    "destinations": lambda windows: windows.distinct[ADDRESSES],
    "ports": lambda windows: windows.distinct[PORTS],
    "pairs": lambda windows: windows.distinct[PAIRS],
    "destination_entropy": lambda windows: entropy(windows, ADDRESSES),
    "port_entropy": lambda windows: entropy(windows, PORTS),
    "fan_out": lambda windows: windows.distinct[PAIRS] / np.maximum(windows.rows["flows_started"], 1),
    "ports_per_destination": lambda windows: windows.distinct[PAIRS] / np.maximum(windows.distinct[ADDRESSES], 1),
    "flows_per_pair": lambda windows: windows.rows["flows_started"] / np.maximum(windows.distinct[PAIRS], 1),
    "failed_ratio": _failed,
    "syn_ratio": _share("syn"),
    "ack_out_ratio": _ratio("ack_out", "packets_out"),
    "ack_in_ratio": _ratio("ack_in", "packets_in"),
    "fin_out_ratio": _ratio("fin_out", "packets_out"),
    "fin_in_ratio": _ratio("fin_in", "packets_in"),
    "rst_out_ratio": _ratio("rst_out", "packets_out"),
    "rst_in_ratio": _ratio("rst_in", "packets_in"),
    "data_out_ratio": _ratio("data_out", "packets_out"),
    "data_in_ratio": _ratio("data_in", "packets_in"),
    "up_down_ratio": _ratio("bytes_out", "bytes_in"),
    "packet_size_out": _ratio("bytes_out", "packets_out"),
    "packet_size_in": _ratio("bytes_in", "packets_in"),
    "packets_per_flow": lambda windows: _packets(windows) / np.maximum(windows.rows["flows_started"], 1),
    "tcp_ratio": _share("tcp_packets"),
    "udp_ratio": _share("udp_packets"),
    "icmp_ratio": _share("icmp_packets"),
    "span_s": _span,
    "rhythm": rhythm,
    "parts": _count("parts"),
    **{f"part_{name}_{what}": _count(f"{name}_{what}") for name in SERIES for what in ("min", "max")},
    **{f"part_{name}_mean": _mean(name) for name in SERIES},
    **{f"part_{name}_std": _std(name) for name in SERIES},
    "new_destination_ratio": _recalled("unseen"),
    **{name: _recalled(of) for name, of in (("steady_pairs", "steady"), *((name, name) for name in _BEAT))},
    "beat_period": lambda windows: windows.rows["beat_period"] * SECONDS,
    "source_age": lambda windows: windows.rows["source_age"] * SECONDS,
    "beat_age": lambda windows: windows.rows["beat_age"] * SECONDS,
}
