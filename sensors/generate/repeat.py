"""Load: short conversations written once, then repeated with other addresses, ports, sequence numbers and times by array operations."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np

from schemas.labels import LABELS
from sensors.generate import table as tb
from sensors.generate import templates as tp
from sensors.generate.hosts import Host
from sensors.generate.kinds import ATTACK_KINDS, BENIGN_KINDS
from sensors.generate.pace import Pace
from sensors.generate.table import WIDTH, ConversationTable

if TYPE_CHECKING:
    from sensors.generate.run import TrafficGenerator

_PACKETS_PER_FLOW = 6.5
_LONGEST_NS = 8_000_000_000
_MOST_PACKETS = 120
_SAMPLES = 40  # conversations of each kind
#: By the kind of an alert's identity: how likely a flow of it is beside the others, from how many hosts attacks of one label come, at how
#: many they aim (0: any). As on a network, nearly all attack flows belong to a few scans and floods.
_ATTACKS = {"scan": (1.0, 3, 0), "flood": (1.0, 25, 1), "brute-force": (0.3, 3, 2), "repeated": (0.05, 6, 3)}
#: Floods whose sources are forged.
_FORGED = ("SYN_FLOOD", "UDP_FLOOD")
_HOST_DTYPE = np.dtype(
    [("ip4", np.uint64), ("hi", np.uint64), ("lo", np.uint64), ("mac", np.uint64), ("ttl", np.uint8), ("vlan", np.uint16)]
)


def _few(side: str) -> np.ndarray:
    """By label: how many hosts play this part (``src`` or ``dst``) in its attacks; 0: any."""
    at = 1 if side == "src" else 2
    counts = [_ATTACKS[label.kind][at] if label.kind in _ATTACKS else 0 for label in LABELS]
    if side == "src":
        counts = [0 if label.name in _FORGED else n for label, n in zip(LABELS, counts, strict=True)]
    return np.array(counts)


_FEW = {side: _few(side) for side in ("src", "dst")}


def _hosts(hosts: list[Host]) -> np.ndarray:
    low = (1 << 64) - 1
    return np.array([(h.ip4, h.ip6 >> 64, h.ip6 & low, h.mac, h.ttl, h.vlan) for h in hosts], _HOST_DTYPE)


class Repeater:
    """Writes the packets of a slice from a library of conversations.

    Flows are drawn so that a flow has 6.5 packets on average and the attack share is met (in packets). Pings are the only ICMP.
    """

    def __init__(self, run: TrafficGenerator) -> None:
        s = run.scenario
        self._run = run
        self._pace = Pace(s.rate, run.slice_ns)
        self._draw = np.random.default_rng([s.seed & 0xFFFFFFFF, 0x8E9EA7])
        world = run.world
        self._inside, self._servers = _hosts(world.clients), _hosts(world.servers)
        self._users, self._sites = _hosts(world.users), _hosts(world.sites)
        self._router = world.sites[0].mac
        self._library()
        self._count = 0

    def _library(self) -> None:
        run, s = self._run, self._run.scenario
        rng = random.Random(f"{s.seed}/repeat")
        own, kept = run.flows, ConversationTable()
        run.flows = kept  # the originals are no part of the truth
        parts, attacks = [], s.attack_kinds if s.attack_share > 0 else ()
        for name in s.benign_kinds if s.attack_share < 1 else ():
            if name != "multicast":
                ctx = run.context(rng)
                for _ in range(_SAMPLES):
                    BENIGN_KINDS[name][0](ctx, 0)
                parts.append(ctx.packets())
        for label in attacks:
            ctx = run.context(rng, label)
            for _ in range(4):
                for _ in ATTACK_KINDS[label][0](ctx, 0, _SAMPLES * 4, 4_000_000_000):
                    pass
            parts.append(ctx.packets())
        run.flows = own
        rows = np.concatenate(parts)
        rows = rows[np.lexsort((rows[:, tb.TS], rows[:, tb.FLOW]))]
        flow, first, counts = np.unique(rows[:, tb.FLOW], return_index=True, return_counts=True)
        rows[:, tb.TS] -= np.repeat(rows[first, tb.TS], counts)
        spans = rows[first + counts - 1, tb.TS]
        flows = kept.rows[flow]
        usable = (
            (spans <= _LONGEST_NS)
            & (counts <= _MOST_PACKETS)
            & ((flows["protocol"] == 6) | (flows["protocol"] == 17) | (flows["label"] == 0))
        )
        self._rows, self._first, self._counts, self._flows = rows, first[usable], counts[usable], flows[usable]
        self._weights = self._probabilities()

    def _probabilities(self) -> np.ndarray:
        """Chance of each library flow.

        Attack labels by :data:`_ATTACKS`, benign flows tilted towards short ones until the mean length is as wanted.
        """
        share = self._run.scenario.attack_share
        labels, counts = self._flows["label"], self._counts.astype(float)
        attack = labels != 0
        weights = np.zeros(len(labels))
        if attack.any():
            likely = np.array([_ATTACKS[label.kind][0] if label.kind in _ATTACKS else 0.0 for label in LABELS])
            p = likely[labels[attack]] / np.bincount(labels)[labels[attack]]
            weights[attack] = p * share / (p @ counts[attack])
        if not attack.all():
            some = counts[~attack]
            low, high = -1.0, 5.0
            for _ in range(60):
                x = (low + high) / 2
                p = np.exp(-x * some / some.mean())
                p /= p.sum()
                low, high = (x, high) if p @ some > _PACKETS_PER_FLOW else (low, x)
            weights[~attack] = p * (1 - share) / (p @ some)
        return weights / weights.sum()

    def write(self, k: int, begin: int, end: int) -> np.ndarray:
        """Packets of the conversations that start in slice ``k``, in time order."""
        self._pace.open(k)
        mean = float(self._weights @ self._counts)
        n = int(self._pace.credit / mean) if self._pace.credit > 0 else 0
        if n == 0:
            return np.empty((0, WIDTH), np.int64)
        draw = self._draw
        pick = draw.choice(len(self._flows), n, p=self._weights)
        counts = self._counts[pick]
        total = int(counts.sum())
        inner = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = self._rows[np.repeat(self._first[pick], counts) + inner]
        rows[:, tb.TS] += np.repeat(draw.integers(begin, end, n), counts)
        self._address(pick)
        rows[:, tb.FLOW] = np.repeat(np.arange(self._run.flows.size - n, self._run.flows.size), counts)
        self._renumber(rows, draw.integers(0, 1 << 32, (n, 2)), counts)
        rows = rows[np.argsort(rows[:, tb.TS], kind="stable")]
        self._pace.spend(self._run.slice_of(rows[:, tb.TS]))
        return rows

    def _address(self, pick: np.ndarray) -> None:
        """New rows of the flow table for the library flows ``pick``, between other hosts and with other ports."""
        n, draw = len(pick), self._draw
        flows = self._flows[pick]
        for field in ("fwd", "bwd", "first", "last"):
            flows[field] = 0
        for side, mac, inner, outer in (("src", "src_mac", self._inside, self._users), ("dst", "dst_mac", self._servers, self._sites)):
            outside = flows[mac] == self._router
            few = _FEW[side][flows["label"]]  # hosts that play this part in attacks of the flow's label; 0: any
            lot = draw.integers(0, 1 << 32, n)
            chosen = [(flows["label"] * 5 + lot % np.maximum(few, 1)) % len(pool) for pool in (outer, inner)]
            out, ins = (np.where(few > 0, c, lot % len(pool)) for c, pool in zip(chosen, (outer, inner), strict=True))
            hosts = np.where(outside, outer[out], inner[ins])
            v6 = flows["version"] == 6
            flows[f"{side}_hi"] = np.where(v6, hosts["hi"], 0)
            flows[f"{side}_lo"] = np.where(v6, hosts["lo"], hosts["ip4"])
            flows[mac] = hosts["mac"]
            flows["ttl_fwd" if side == "src" else "ttl_bwd"] = hosts["ttl"]
            flows["vlan"] = hosts["vlan"] if side == "src" else np.maximum(flows["vlan"], hosts["vlan"])
        ports = 1024 + (self._count + np.arange(n)) * 7 % 64_507  # comes round after 64,507 flows
        self._count += n
        flows["src_port"] = np.where(flows["protocol"] == 6, ports, np.where(flows["protocol"] == 17, ports, 0))
        self._run.flows.reserve(n)[:] = flows

    @staticmethod
    def _renumber(rows: np.ndarray, shift: np.ndarray, counts: np.ndarray) -> None:
        """Shift sequence numbers, each side by its own amount (int64[flows, 2]), and what acknowledges them."""
        mask = 0xFFFFFFFF
        owner = np.repeat(np.arange(len(counts)), counts)
        side = rows[:, tb.DIR]
        tcp = rows[:, tb.KIND] < tp.UDP_KIND
        own, other = shift[owner, side], shift[owner, 1 - side]
        rows[:, tb.SEQ] = np.where(tcp, (rows[:, tb.SEQ] + own) & mask, rows[:, tb.SEQ])
        acks = tcp & (rows[:, tb.FLAGS] & 16 > 0)
        rows[:, tb.ACK] = np.where(acks, (rows[:, tb.ACK] + other) & mask, rows[:, tb.ACK])
        sack = (rows[:, tb.KIND] == tp.TCP_SACK) | (rows[:, tb.KIND] == tp.TCP_TS_SACK)
        for column in (tb.A, tb.B):
            rows[:, column] = np.where(sack, (rows[:, column] + other) & mask, rows[:, column])
