"""Features that follow from others, as the meter computes them (:mod:`jobs.metering.features`), where a sender has left them out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.sources.features.cells import KnownValues

_TCP = 6
Formula = Callable[..., NDArray]


class Follows(NamedTuple):
    """A feature, what it is computed from, and how."""

    name: str
    needs: tuple[str, ...]
    formula: Formula


def _ratio(a: NDArray, b: NDArray) -> NDArray:
    return np.divide(a, b, out=np.zeros(len(a)), where=np.asarray(b) != 0)


def _rate(amount: NDArray, duration: NDArray) -> NDArray:
    return _ratio(amount, duration / 1e6)


def _gap(total: NDArray, packets: NDArray) -> NDArray:
    return _ratio(total, np.maximum(packets - 1, 0))


def _least(fwd: NDArray, bwd: NDArray, nf: NDArray, nb: NDArray) -> NDArray:
    """The lesser of two directions; of one without packets nothing is known."""
    return np.where(nf == 0, bwd, np.where(nb == 0, fwd, np.minimum(fwd, bwd)))


_NF, _NB, _SF, _SB, _D = (
    "total_fwd_packets",
    "total_backward_packets",
    "total_length_fwd_packets",
    "total_length_bwd_packets",
    "flow_duration",
)
#: In an order in which what one needs stands before it.
RULES: tuple[Follows, ...] = (
    Follows(_D, ("start_time", "end_time"), lambda start, end: end - start),
    Follows("flow_bytes_per_sec", (_SF, _SB, _D), lambda sf, sb, d: _rate(sf + sb, d)),
    Follows("flow_packets_per_sec", (_NF, _NB, _D), lambda nf, nb, d: _rate(nf + nb, d)),
    Follows("fwd_packets_per_sec", (_NF, _D), _rate),
    Follows("bwd_packets_per_sec", (_NB, _D), _rate),
    Follows("flow_iat_mean", (_D, _NF, _NB), lambda d, nf, nb: _gap(d, nf + nb)),
    Follows("fwd_iat_mean", ("fwd_iat_total", _NF), _gap),
    Follows("bwd_iat_mean", ("bwd_iat_total", _NB), _gap),
    Follows("fwd_packet_length_mean", (_SF, _NF), _ratio),
    Follows("bwd_packet_length_mean", (_SB, _NB), _ratio),
    Follows("fwd_segment_size_avg", (_SF, _NF), _ratio),
    Follows("bwd_segment_size_avg", (_SB, _NB), _ratio),
    Follows("packet_length_mean", (_SF, _SB, _NF, _NB), lambda sf, sb, nf, nb: _ratio(sf + sb, nf + nb)),
    Follows("average_packet_size", (_SF, _SB, _NF, _NB), lambda sf, sb, nf, nb: _ratio(sf + sb, nf + nb)),
    Follows("down_up_ratio", (_NB, _NF), _ratio),
    Follows("packet_length_variance", ("packet_length_std",), np.square),
    Follows("packet_length_std", ("packet_length_variance",), lambda variance: np.sqrt(np.maximum(variance, 0))),
    Follows("min_packet_length", ("fwd_packet_length_min", "bwd_packet_length_min", _NF, _NB), _least),
    Follows("max_packet_length", ("fwd_packet_length_max", "bwd_packet_length_max"), np.maximum),
    *(
        Follows(f"{flag}_flag_count", (f"fwd_{flag}_flags", f"bwd_{flag}_flags"), lambda fwd, bwd: fwd + bwd)
        for flag in ("psh", "urg", "rst")
    ),
    Follows("total_tcp_flow_time", (_D, "protocol", "part"), lambda d, protocol, _: np.where(protocol == _TCP, d, 0)),
)


def derive(columns: dict[str, KnownValues]) -> None:
    """Fill in what follows, where nothing was said and all that it needs is known.

    The lifetime of a TCP connection is that of its flow only in its first part: of a later one it is not known.
    """
    for name, needs, formula in RULES:
        given = columns[name]
        can = np.logical_and.reduce([columns[need].known for need in needs])
        if name == "total_tcp_flow_time":
            can = can & ((columns["part"].values == 0) | (columns["protocol"].values != _TCP))
        at = np.flatnonzero(can & ~given.known)
        if len(at):
            with np.errstate(over="ignore"):
                found = formula(*(columns[need].values[at] for need in needs))
            fits = np.isfinite(found)  # the square of a number beyond all sense is none
            values, known = given.values.copy(), given.known.copy()
            values[at[fits]], known[at[fits]] = found[fits], True
            columns[name] = KnownValues(values, known)
