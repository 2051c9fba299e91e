"""Zeek's ``conn_state`` of a connection, from the meanings in Zeek's documentation (base/protocols/conn/main.zeek)."""

from __future__ import annotations

from collections.abc import Sequence

from tests.oracle.features import Seen
from tests.oracle.parse import ACK, FIN, RST, SYN


def conn_state(packets: Sequence[Seen]) -> str:
    """State after the connection's packets so far; the originator is the forward side."""
    syn = synack = fin_orig = fin_resp = reply = False
    for p in packets:
        flags = p.packet.flags
        if flags & RST:
            return _reset(p.forward, syn, synack)
        if p.forward:
            syn = syn or bool(flags & SYN and not flags & ACK)
            fin_orig = fin_orig or bool(flags & FIN)
        else:
            reply = True
            synack = synack or bool(flags & SYN and flags & ACK)
            fin_resp = fin_resp or bool(flags & FIN)
    if syn and synack:
        return {(True, True): "SF", (True, False): "S2", (False, True): "S3", (False, False): "S1"}[fin_orig, fin_resp]
    if syn and not fin_resp and (fin_orig or not reply):
        return "SH" if fin_orig else "S0"
    if synack and fin_resp:
        return "SHR"
    return "OTH"


def _reset(by_originator: bool, syn: bool, synack: bool) -> str:
    if by_originator:
        return {(True, True): "RSTO", (True, False): "RSTOS0"}.get((syn, synack), "OTH")
    return {(True, True): "RSTR", (True, False): "REJ", (False, True): "RSTRH"}.get((syn, synack), "OTH")
