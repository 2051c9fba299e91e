"""Rows of the flow table -> records of :data:`schemas.flows.RECORD_SCHEMA`. Formulas: ``schemas/features.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from jobs.metering.identity import address_texts, community_ids, flow_ids
from jobs.metering.row import B_DATA, CLOSED, END_REASONS, ESTABLISHED, F_DATA, INACTIVE, PARTIAL, RESET, SYN_ACK_SENT, SYN_SENT
from jobs.metering.words import columns
from schemas.features import FEATURE_VERSION
from schemas.flows import FEATURE_FIELDS, RECORD_SCHEMA
from sensors.packets.decode import tunnel_name

Columns = Mapping[str, NDArray]


@njit(cache=True, nogil=True)
def _variance(n, total, squares, out):
    """Sample variance from exact integer sums: (n*q - s*s) / (n*(n-1)), the numerator in 128 bits."""
    mask = np.uint64(0xFFFFFFFF)
    for i in range(n.shape[0]):
        if n[i] < 2:
            out[i] = 0.0
            continue
        a = np.uint64(n[i])
        q = squares[i]
        s = np.uint64(total[i])
        # n * q
        al, ah, ql, qh = a & mask, a >> np.uint64(32), q & mask, q >> np.uint64(32)
        mid = ah * ql + ((al * ql) >> np.uint64(32))
        mid2 = al * qh + (mid & mask)
        hi1 = ah * qh + (mid >> np.uint64(32)) + (mid2 >> np.uint64(32))
        lo1 = a * q
        # s * s
        sl, sh = s & mask, s >> np.uint64(32)
        mid = sh * sl + ((sl * sl) >> np.uint64(32))
        mid2 = sl * sh + (mid & mask)
        hi2 = sh * sh + (mid >> np.uint64(32)) + (mid2 >> np.uint64(32))
        lo2 = s * s
        lo = lo1 - lo2
        hi = hi1 - hi2 - (np.uint64(1) if lo1 < lo2 else np.uint64(0))
        numerator = np.float64(hi) * 18446744073709551616.0 + np.float64(lo)
        out[i] = numerator / (np.float64(n[i]) * np.float64(n[i] - 1))


def variance(n: NDArray, total: NDArray, squares: NDArray) -> NDArray[np.float64]:
    """Sample variance (n - 1) of ``n`` integers with the given sum and sum of squares; 0 where n < 2."""
    out = np.empty(len(n))
    _variance(np.ascontiguousarray(n, np.int64), np.ascontiguousarray(total, np.int64), np.ascontiguousarray(squares, np.uint64), out)
    return out


def _ratio(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    """a / b, 0 where b is 0."""
    out = np.zeros(len(a))
    return np.divide(a, b, out=out, where=np.asarray(b) != 0)


def feature_columns(r: Columns) -> dict[str, NDArray]:
    """Every feature of ``schemas.features.ALL_FEATURES`` from the columns of flow rows, by name."""
    nf, nb, sf, sb = r["nf"], r["nb"], r["sf"], r["sb"]
    n, s = nf + nb, sf + sb
    duration = r["last"] - r["start"]
    seconds = duration / 1e6
    has_f, has_b = nf > 0, nb > 0
    f_total = np.where(nf > 1, r["f_last"] - r["f_first"], 0)
    b_total = np.where(nb > 1, r["b_last"] - r["b_first"], 0)
    k = 1 + r["gaps"].astype(np.int64)
    length_variance = variance(n, s, r["qf"] + r["qb"])
    low_f = np.where(has_f, r["f_min"], np.iinfo(np.uint32).max)
    low_b = np.where(has_b, r["b_min"], np.iinfo(np.uint32).max)
    tcp = r["proto"] == 6
    return {
        "flow_duration": duration,
        "total_fwd_packets": nf,
        "total_backward_packets": nb,
        "total_length_fwd_packets": sf,
        "total_length_bwd_packets": sb,
        "fwd_packet_length_max": r["f_max"],
        "fwd_packet_length_min": r["f_min"],
        "fwd_packet_length_mean": _ratio(sf, nf),
        "fwd_packet_length_std": np.sqrt(variance(nf, sf, r["qf"])),
        "bwd_packet_length_max": r["b_max"],
        "bwd_packet_length_min": r["b_min"],
        "bwd_packet_length_mean": _ratio(sb, nb),
        "bwd_packet_length_std": np.sqrt(variance(nb, sb, r["qb"])),
        "flow_bytes_per_sec": _ratio(s, seconds),
        "flow_packets_per_sec": _ratio(n, seconds),
        "flow_iat_mean": _ratio(duration, n - 1),
        "flow_iat_std": np.sqrt(variance(n - 1, duration, r["iat_q"])),
        "flow_iat_max": r["iat_max"],
        "flow_iat_min": r["iat_min"],
        "fwd_iat_total": f_total,
        "fwd_iat_mean": _ratio(f_total, np.maximum(nf - 1, 0)),
        "fwd_iat_std": np.sqrt(variance(nf - 1, f_total, r["f_iat_q"])),
        "fwd_iat_max": r["f_iat_max"],
        "fwd_iat_min": r["f_iat_min"],
        "bwd_iat_total": b_total,
        "bwd_iat_mean": _ratio(b_total, np.maximum(nb - 1, 0)),
        "bwd_iat_std": np.sqrt(variance(nb - 1, b_total, r["b_iat_q"])),
        "bwd_iat_max": r["b_iat_max"],
        "bwd_iat_min": r["b_iat_min"],
        "fwd_psh_flags": r["f_psh"],
        "bwd_psh_flags": r["b_psh"],
        "fwd_urg_flags": r["f_urg"],
        "bwd_urg_flags": r["b_urg"],
        "fwd_rst_flags": r["f_rst"],
        "bwd_rst_flags": r["b_rst"],
        "fwd_header_length": r["hf"],
        "bwd_header_length": r["hb"],
        "fwd_packets_per_sec": _ratio(nf, seconds),
        "bwd_packets_per_sec": _ratio(nb, seconds),
        "min_packet_length": np.minimum(low_f, low_b),
        "max_packet_length": np.maximum(r["f_max"], r["b_max"]),
        "packet_length_mean": _ratio(s, n),
        "packet_length_std": np.sqrt(length_variance),
        "packet_length_variance": length_variance,
        "fin_flag_count": r["n_fin"],
        "syn_flag_count": r["n_syn"],
        "rst_flag_count": r["n_rst"],
        "psh_flag_count": r["n_psh"],
        "ack_flag_count": r["n_ack"],
        "urg_flag_count": r["n_urg"],
        "cwr_flag_count": r["n_cwr"],
        "ece_flag_count": r["n_ece"],
        "down_up_ratio": _ratio(nb, nf),
        "average_packet_size": _ratio(s, n),
        "fwd_segment_size_avg": _ratio(sf, nf),
        "bwd_segment_size_avg": _ratio(sb, nb),
        "fwd_bytes_bulk_avg": _ratio(r["fb_bytes"], r["fb_n"]),
        "fwd_packet_bulk_avg": _ratio(r["fb_pk"], r["fb_n"]),
        "fwd_bulk_rate_avg": _ratio(r["fb_bytes"], r["fb_dur"] / 1e6),
        "bwd_bytes_bulk_avg": _ratio(r["bb_bytes"], r["bb_n"]),
        "bwd_packet_bulk_avg": _ratio(r["bb_pk"], r["bb_n"]),
        "bwd_bulk_rate_avg": _ratio(r["bb_bytes"], r["bb_dur"] / 1e6),
        "subflow_fwd_packets": nf / k,
        "subflow_fwd_bytes": sf / k,
        "subflow_bwd_packets": nb / k,
        "subflow_bwd_bytes": sb / k,
        "fwd_init_win_bytes": r["f_win"],
        "bwd_init_win_bytes": r["b_win"],
        "fwd_act_data_pkts": r["f_data"],
        "fwd_seg_size_min": r["f_hmin"],
        "active_mean": _ratio(r["active_sum"], r["active_n"]),
        "active_std": np.sqrt(variance(r["active_n"], r["active_sum"], r["active_q"])),
        "active_max": r["active_max"],
        "active_min": r["active_min"],
        "idle_mean": _ratio(r["idle_sum"], r["idle_n"]),
        "idle_std": np.sqrt(variance(r["idle_n"], r["idle_sum"], r["idle_q"])),
        "idle_max": r["idle_max"],
        "idle_min": r["idle_min"],
        "icmp_code": r["icmp_code"],
        "icmp_type": r["icmp_type"],
        "total_tcp_flow_time": np.where(tcp, r["last"] - r["conn_start"], 0),
        "bwd_act_data_pkts": r["b_data"],
        "bwd_seg_size_min": r["b_hmin"],
    }


def tcp_states(r: Columns) -> pa.StringArray:
    """Connection state in Zeek's terms (conn.log ``conn_state``); "" for flows that are not TCP.

    Source: documentation of Zeek's base/protocols/conn. State of the connection so far, also on the later parts of a split one.
    """
    o, p = r["f_state"], r["b_state"]
    o_silent, p_silent = (o == INACTIVE) | (o == PARTIAL), (p == INACTIVE) | (p == PARTIAL)
    no_data = (r["tcp"] & (F_DATA | B_DATA)) == 0
    rules = [
        (r["proto"] != 6, ""),
        ((p == RESET) & ((o == SYN_SENT) | (o == SYN_ACK_SENT) | ((o == RESET) & no_data)), "REJ"),
        ((p == RESET) & o_silent, "RSTRH"),
        (p == RESET, "RSTR"),
        ((o == RESET) & p_silent, "RSTOS0"),
        (o == RESET, "RSTO"),
        ((o == CLOSED) & (p == CLOSED), "SF"),
        ((o == CLOSED) & p_silent, "SH"),
        (o == CLOSED, "S2"),
        ((p == CLOSED) & o_silent, "SHR"),
        (p == CLOSED, "S3"),
        ((o == SYN_SENT) & (p == INACTIVE), "S0"),
        ((o == ESTABLISHED) & (p == ESTABLISHED), "S1"),
    ]
    state = np.select([c for c, _ in rules], list(range(len(rules))), default=len(rules))
    return _named([*(name for _, name in rules), "OTH"], state)


def _named(names: Sequence[str | None], index: NDArray) -> pa.StringArray:
    """``names[i]`` for every i of ``index``."""
    return pa.array(names, pa.string()).take(pa.array(np.ascontiguousarray(index, np.int64)))


def _texts(values: NDArray, text: Callable[[int], str]) -> pa.StringArray:
    """``text`` of every value; called once for each that occurs."""
    codes = pa.array(np.ascontiguousarray(values)).dictionary_encode()
    return pa.array([text(v) for v in codes.dictionary.to_pylist()], pa.string()).take(codes.indices)


def _vlan_text(tags: int) -> str:
    return ",".join(str(tag - 1) for tag in (tags & 0xFFFF, tags >> 16 & 0xFFFF, tags >> 32) if tag)


def records(
    rows: NDArray, domains: Sequence[str], sensors: Sequence[str], *, closed: bool | NDArray = True, community_id_seed: int = 0
) -> pa.RecordBatch:
    """Flow records of ``rows``; ``domains`` and ``sensors`` name the numbers that the rows carry."""
    n = len(rows)
    c = columns(rows)
    version = c["ipver"]
    is_closed = np.broadcast_to(np.asarray(closed, bool), n)
    vlans = c["vlan1"].astype(np.int64) | c["vlan2"].astype(np.int64) << 16 | c["vlan3"].astype(np.int64) << 32
    identity = {
        "flow_id": flow_ids(rows, domains),
        "community_id": community_ids(rows, community_id_seed),
        "sensor_id": _named(sensors, c["sensor"]),
        "domain": _named(domains, c["domain"]),
        "ip_version": version,
        "protocol": c["proto"],
        "src_ip": address_texts(version, c["src_hi"], c["src_lo"]),
        "src_port": c["sport"],
        "dst_ip": address_texts(version, c["dst_hi"], c["dst_lo"]),
        "dst_port": c["dport"],
        "start_time": c["start"],
        "end_time": c["last"],
        "closed": is_closed,
        "end_reason": _named([*END_REASONS, None], np.where(is_closed, c["end_reason"], len(END_REASONS))),
        "part": c["part"],
        "vlan_ids": _texts(vlans, _vlan_text),
        "tunnel": _texts(c["tunnel"], tunnel_name),
        "tcp_state": tcp_states(c),
        "fwd_l3_bytes": c["l3f"],
        "bwd_l3_bytes": c["l3b"],
        "out_of_order_packets": c["out_of_order"],
        "duplicate_packets": c["duplicate"],
        "malformed_packets": c["malformed"],
        "feature_version": _named([FEATURE_VERSION], np.zeros(n, np.int64)),
    }
    arrays = [_array(identity[f.name], f) for f in RECORD_SCHEMA if f.name in identity]
    features = feature_columns(c)
    arrays += [_array(features[f.name], f) for f in FEATURE_FIELDS]
    return pa.RecordBatch.from_arrays(arrays, schema=RECORD_SCHEMA)


def _array(values: NDArray | pa.Array, field: pa.Field) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    if pa.types.is_timestamp(field.type):
        return pa.array(np.ascontiguousarray(values, np.int64), pa.int64()).view(field.type)
    if pa.types.is_boolean(field.type):
        return pa.array(values)
    return pa.array(np.ascontiguousarray(values, field.type.to_pandas_dtype()), field.type)
