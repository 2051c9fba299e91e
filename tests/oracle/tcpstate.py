"""Zeek's ``conn_state``: two endpoints walk through states, and the pair of them names the connection.

Behaviour of Zeek's TCP session and of base/protocols/conn, in own words. Zeek's sequence number checks, its reuse of connections and
its swap of roles are not part of it: which packets make a flow, and which way is forward, is the meter's to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from tests.oracle.features import Seen
from tests.oracle.parse import ACK, FIN, RST, SYN


class State(Enum):
    """Of one endpoint, by what it has sent."""

    INACTIVE = auto()  # nothing
    SYN_SENT = auto()
    SYN_ACK_SENT = auto()  # as originator
    PARTIAL = auto()  # something, but no SYN
    ESTABLISHED = auto()
    CLOSED = auto()
    RESET = auto()


@dataclass
class _End:
    state: State = State.INACTIVE
    before: State = State.INACTIVE
    size: int = 0

    def to(self, state: State) -> None:
        self.before, self.state = self.state, state


def conn_state(packets: Sequence[Seen]) -> str:
    """State after the connection's packets so far; the originator is the forward side."""
    orig, resp = _End(), _End()
    for p in packets:
        if p.packet.fragment and not p.packet.fragment.first:
            continue  # it has no TCP header
        me, peer = (orig, resp) if p.forward else (resp, orig)
        me.size += p.packet.payload
        _step(me, peer, p.forward, p.packet.flags, p.packet.payload)
    return _name(orig, resp)


def _step(me: _End, peer: _End, from_orig: bool, flags: int, payload: int) -> None:
    if me.state is State.INACTIVE:
        _first(me, peer, from_orig, flags, payload)
    elif me.state in (State.SYN_SENT, State.SYN_ACK_SENT):
        if flags & FIN:
            me.to(State.CLOSED)
        if flags & RST:
            me.to(State.RESET)
    elif me.state in (State.ESTABLISHED, State.PARTIAL):
        if flags & SYN and not flags & ACK and me.state is State.PARTIAL and peer.state is State.INACTIVE:
            me.to(State.SYN_SENT)
        if flags & FIN and not flags & RST:
            me.to(State.CLOSED)
            if peer.state is State.RESET and peer.before is State.CLOSED:
                peer.to(State.CLOSED)  # FIN and then RST, answered by a FIN: an ordinary end
        if flags & RST:
            me.to(State.RESET)
    elif me.state is State.CLOSED and flags & RST and peer.state is not State.CLOSED:
        me.to(State.RESET)


def _first(me: _End, peer: _End, from_orig: bool, flags: int, payload: int) -> None:
    """The first packet that moves this endpoint."""
    if flags & SYN and from_orig:
        me.to(State.SYN_ACK_SENT if flags & ACK else State.SYN_SENT)
    elif flags & SYN:
        if peer.state is State.SYN_SENT:
            peer.to(State.ESTABLISHED)
        me.to(State.ESTABLISHED)
    if flags & FIN:
        me.to(State.CLOSED)
    if flags & RST:
        me.to(State.RESET)
    if me.state is not State.INACTIVE:
        return
    if not from_orig and payload == 0 and peer.state is State.SYN_SENT:
        return  # some stacks acknowledge a SYN before they answer it
    me.to(State.ESTABLISHED if flags & ACK and peer.state is State.ESTABLISHED else State.PARTIAL)


def _name(orig: _End, resp: _End) -> str:
    silent = (State.INACTIVE, State.PARTIAL)
    o, r = orig.state, resp.state
    if r is State.RESET:
        if o in (State.SYN_SENT, State.SYN_ACK_SENT) or (o is State.RESET and orig.size == 0 and resp.size == 0):
            return "REJ"
        return "RSTRH" if o in silent else "RSTR"
    if o is State.RESET:
        return "RSTOS0" if r in silent else "RSTO"
    if o is State.CLOSED and r is State.CLOSED:
        return "SF"
    if o is State.CLOSED:
        return "SH" if r in silent else "S2"
    if r is State.CLOSED:
        return "SHR" if o in silent else "S3"
    if (o, r) == (State.SYN_SENT, State.INACTIVE):
        return "S0"
    if (o, r) == (State.ESTABLISHED, State.ESTABLISHED):
        return "S1"
    return "OTH"
