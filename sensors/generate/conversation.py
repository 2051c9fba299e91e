"""Conversations as the capture point sees them: TCP connections, UDP exchanges, ICMP echoes.

Times are those at the capture point, which lies somewhere between client and server: what answers a packet of one side comes one round trip
to the other side (plus its thinking) later. TCP follows RFC 9293: MSS segmentation, slow start from ten segments, an ACK for every
second segment, delayed ACKs, loss with duplicate ACKs (SACK), fast retransmission or timeout, ends by FIN or RST.
"""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass, field

import numpy as np

from schemas.labels import NAMES
from sensors.generate import templates as tp
from sensors.generate.hosts import MS, Host, World
from sensors.generate.payloads import BULK_STEP, Pool, Span
from sensors.generate.table import TS, ConversationTable, matrix

FIN, SYN, RST, PSH, ACK_FLAG = 1, 2, 4, 8, 16
CLIENT, SERVER = 0, 1
_LABEL = {name: i for i, name in enumerate(NAMES)}
_MASK = 0xFFFFFFFF
_LOW64 = (1 << 64) - 1


@dataclass
class Context:
    """What a conversation is written with: randomness of its own, the hosts, the flow table, the payloads, a buffer for its packets."""

    rng: random.Random
    world: World
    flows: ConversationTable
    pool: Pool
    label: str = NAMES[0]
    max_bytes: int = 3_000_000  # the longest transfer that fits the scenario
    buffer: array = field(default_factory=lambda: array("q"))
    chunks: list[np.ndarray] = field(default_factory=list)  # packet matrices made by array operations (floods)

    @property
    def label_index(self) -> int:
        """The label as the flow table stores it."""
        return _LABEL[self.label]

    def packets(self) -> np.ndarray:
        """Everything written since the last call, as a packet matrix in time order."""
        rows = matrix(self.buffer)
        if self.chunks:
            rows = np.concatenate([*self.chunks, rows])
            rows = rows[np.argsort(rows[:, TS], kind="stable")]
            self.chunks = []
        self.buffer = array("q")
        return rows

    def flow(self, client: Host, server: Host, sport: int, dport: int, protocol: int, version: int = 4) -> int:
        """A new row of the flow table."""
        src, dst = (client.ip4, server.ip4) if version == 4 else (client.ip6, server.ip6)
        return self.flows.add(
            (
                src >> 64,
                src & _LOW64,
                dst >> 64,
                dst & _LOW64,
                client.mac,
                server.mac,
                0,
                0,
                0,
                0,
                sport,
                dport,
                client.vlan or server.vlan,
                version,
                protocol,
                client.ttl,
                server.ttl,
                1 if protocol == 6 or client.stack.ident == "zero" else 0,
                1 if client.outside or server.outside else 0,
                self.label_index,
            )
        )


class Tcp:
    """One TCP connection. ``t`` is the time at the capture point of the latest event of the script."""

    def __init__(
        self,
        ctx: Context,
        client: Host,
        server: Host,
        dport: int,
        t: int,
        *,
        version: int = 4,
        sport: int | None = None,
        loss: float | None = None,
        syn: int | None = None,
        window: int | None = None,
    ) -> None:
        rng = ctx.rng
        self.ctx, self.rng, self.hosts, self.t, self.start = ctx, rng, (client, server), t, t
        self.sport = client.port(rng) if sport is None else sport
        self.flow = ctx.flow(client, server, self.sport, dport, 6, version)
        self.syn_kind = client.stack.syn if syn is None else syn
        self.timestamps = self.syn_kind in (tp.TCP_SYN_LINUX, tp.TCP_SYN_BSD) and server.stack.timestamps
        self.sack = self.syn_kind not in (tp.TCP_MSS, tp.TCP_PLAIN) and server.stack.sack
        self.plain = tp.TCP_TS if self.timestamps else tp.TCP_PLAIN
        limit = 1460 if version == 4 else 1440
        self.syn_mss = limit if rng.random() < 0.85 else limit - rng.choice((8, 20, 40, 80, 120))
        self.mss = (536 if self.syn_kind == tp.TCP_PLAIN else self.syn_mss) - (12 if self.timestamps else 0)
        self.syn_window = client.window if window is None else window
        scaled = self.sack
        self.win = [
            min(65535, max(64, rng.randint(200, 2100) if scaled else self.syn_window)),
            min(65535, rng.randint(220, 1100) if scaled else server.window),
        ]
        self.seq = [rng.getrandbits(32), rng.getrandbits(32)]
        self.ident = [rng.getrandbits(16), rng.getrandbits(16)]
        self.step = [0 if h.stack.ident == "zero" else 1 for h in self.hosts]
        self.clock = [client.boot & 0x7FFFFFFF, server.boot & 0x7FFFFFFF]
        self.seen = [0, 0]  # latest timestamp option seen from each side
        self.owed: list[int | None] = [None, None]  # since when a side owes an ACK
        self.loss = rng.choice((0.0, 0.0, 0.0, 0.002, 0.01, 0.03)) if loss is None else loss
        self.cwnd = 10
        self.gap = int(rng.uniform(4_000, 120_000))  # ns between back-to-back segments

    def _emit(
        self, d: int, flags: int, t: int, off: int = 0, length: int = 0, kind: int = -1, a: int = 0, b: int = 0, seq: int = -1
    ) -> None:
        tsval = self.clock[d] + (t - self.start) // MS
        self.ident[d] = (self.ident[d] + self.step[d]) & 0xFFFF
        self.ctx.buffer.extend(
            (
                t,
                self.flow,
                d,
                self.plain if kind < 0 else kind,
                flags,
                self.seq[d] if seq < 0 else seq,
                self.seq[1 - d] if flags & ACK_FLAG else 0,
                self.win[d],
                self.ident[d] if self.step[d] else 0,
                off,
                length,
                tsval & _MASK,
                self.seen[1 - d],
                a,
                b,
            )
        )
        self.seen[d] = tsval & _MASK

    def _ack_at(self, d: int, t: int, ack: int, sack: tuple[int, int] | None = None) -> None:
        """A pure ACK of side ``d`` for everything up to ``ack``."""
        kept = self.seq[1 - d]
        self.seq[1 - d] = ack
        if sack and self.sack:
            self._emit(d, ACK_FLAG, t, kind=tp.TCP_TS_SACK if self.timestamps else tp.TCP_SACK, a=sack[0], b=sack[1])
        else:
            self._emit(d, ACK_FLAG, t)
        self.seq[1 - d] = kept

    def _syn(self, t: int) -> None:
        window, self.win[CLIENT] = self.win[CLIENT], self.syn_window
        self._emit(CLIENT, SYN, t, kind=self.syn_kind, a=self.syn_mss, b=self.hosts[CLIENT].wscale)
        self.win[CLIENT] = window

    def syn_only(self, tries: int = 1, timeout: int = 1_000 * MS) -> None:
        """SYNs that nobody answers, the timeout doubling."""
        for i in range(tries):
            self._syn(self.t)
            if i + 1 < tries:
                self.t += timeout << i

    def syn_ack(self) -> None:
        """SYN and the server's SYN-ACK."""
        self._syn(self.t)
        self.seq[CLIENT] = (self.seq[CLIENT] + 1) & _MASK
        server = self.hosts[SERVER]
        self.t += server.delay(self.rng) + int(self.rng.expovariate(1 / 60_000))
        if self.timestamps:
            kind = server.stack.syn
        elif self.sack:
            kind = tp.TCP_SYN_WINDOWS
        else:
            kind = tp.TCP_MSS
        window, self.win[SERVER] = self.win[SERVER], 65160 if server.stack.name == "linux" else server.window
        self._emit(SERVER, SYN | ACK_FLAG, self.t, kind=kind, a=self.syn_mss, b=server.wscale)
        self.win[SERVER] = window
        self.seq[SERVER] = (self.seq[SERVER] + 1) & _MASK

    def connect(self) -> Tcp:
        """The three-way handshake; the SYN is sometimes lost behind the capture point and sent again after a second."""
        if self.loss and self.rng.random() < self.loss:
            self._syn(self.t)
            self.t += 1_000 * MS + self.rng.randrange(3 * MS)
        self.syn_ack()
        self.t += self.hosts[CLIENT].delay(self.rng)
        self._emit(CLIENT, ACK_FLAG, self.t)
        return self

    def refuse(self) -> None:
        """SYN answered by RST (closed port)."""
        self._syn(self.t)
        self.seq[CLIENT] = (self.seq[CLIENT] + 1) & _MASK
        self.t += self.hosts[SERVER].delay(self.rng)
        self.seq[SERVER] = 0
        self.win[SERVER] = 0
        self._emit(SERVER, RST | ACK_FLAG, self.t, kind=tp.TCP_PLAIN)

    def wait(self, ns: float) -> Tcp:
        """Let time pass; owed ACKs fall due (delayed ACK: 40 ms, Windows up to 200)."""
        until = self.t + int(ns)
        self._settle(until)
        self.t = until
        return self

    def _settle(self, until: int) -> None:
        for d in (CLIENT, SERVER):
            since = self.owed[d]
            if since is not None:
                due = since + (40 if self.hosts[d].stack.timestamps else 120) * MS
                if due < until:
                    self._emit(d, ACK_FLAG, due)
                    self.owed[d] = None

    def reply(self, d: int, span: Span, think: float = 0) -> Tcp:
        """Side ``d`` answers the other after a round trip and ``think`` ns."""
        return self.wait(self.hosts[d].delay(self.rng) + think).send(d, span)

    def send(self, d: int, span: Span, push: bool = True) -> Tcp:
        """A message of ``span`` bytes from side ``d``, in segments, with the other side's ACKs."""
        off, total = span
        self._settle(self.t)
        self.owed[d] = None  # carried by the data
        other = 1 - d
        mss, rng = self.mss, self.rng
        if total <= mss and not self.loss:
            self._emit(d, ACK_FLAG | PSH, self.t, off, total)
            self.seq[d] = (self.seq[d] + total) & _MASK
            self.owed[other] = self.t + self.hosts[other].rtt
            return self
        sent = 0
        while sent < total:
            burst: list[Span] = []
            while sent < total and len(burst) < self.cwnd:
                length = min(mss, total - sent)
                burst.append((off + sent % BULK_STEP if total > BULK_STEP else off + sent, length))
                sent += length
            self._burst(d, burst, push and sent >= total)
            if sent < total:
                step = self.hosts[other].delay(rng) + self.hosts[d].delay(rng)
                self.t = max(self.t + self.gap, self.t - self.gap * len(burst) + step)
                self.cwnd = min(self.cwnd * 2, 256)
        return self

    def _burst(self, d: int, burst: list[Span], last: bool) -> None:
        other, rng = 1 - d, self.rng
        back = self.hosts[other].delay(rng)
        lost = next((i for i in range(len(burst)) if rng.random() < self.loss), -1) if self.loss else -1
        hole = 0
        t = self.t
        quick = 0
        for i, (off, length) in enumerate(burst):
            flags = ACK_FLAG | (PSH if last and i == len(burst) - 1 else 0)
            before = self.seq[d]
            seen = i != lost or rng.random() < 0.5  # lost behind or before the capture point
            if seen:
                self._emit(d, flags, t, off, length)
            self.seq[d] = (before + length) & _MASK
            if i == lost:
                hole = before
            elif lost >= 0 and i > lost:
                self._ack_at(other, t + back, hole, ((hole + burst[lost][1]) & _MASK, self.seq[d]))
                quick += 1
            elif i % 2 == 1:
                self._ack_at(other, t + back, self.seq[d])
                self.owed[other] = None
            else:
                self.owed[other] = t + back
            if i + 1 < len(burst):
                t += self.gap + int(rng.expovariate(1.0) * 3_000)
        self.t = t
        if lost >= 0:
            wait = back + self.hosts[d].delay(rng) if quick >= 3 else max(200 * MS, 2 * (back + self.hosts[d].rtt)) + rng.randrange(4 * MS)
            self.t += wait
            off, length = burst[lost]
            self._emit(d, ACK_FLAG | (PSH if lost == len(burst) - 1 else 0), self.t, off, length, seq=hole)
            self._ack_at(other, self.t + back, self.seq[d])
            self.owed[other] = None
            self.cwnd = max(2, self.cwnd // 2)

    def close(self, d: int = CLIENT) -> None:
        """FIN from side ``d``, FIN from the other, the last ACK."""
        other = 1 - d
        self._settle(self.t + 1)
        self.owed = [None, None]
        self._emit(d, FIN | ACK_FLAG, self.t)
        self.seq[d] = (self.seq[d] + 1) & _MASK
        self.t += self.hosts[other].delay(self.rng)
        if self.rng.random() < 0.3:  # ACK first, FIN when the application closes
            self._emit(other, ACK_FLAG, self.t)
            self.t += int(self.rng.expovariate(1 / (2 * MS))) + 20_000
        self._emit(other, FIN | ACK_FLAG, self.t)
        self.seq[other] = (self.seq[other] + 1) & _MASK
        self.t += self.hosts[d].delay(self.rng)
        self._emit(d, ACK_FLAG, self.t)

    def reset(self, d: int = CLIENT, ack: bool = True) -> None:
        """RST from side ``d``."""
        self.owed = [None, None]
        self._emit(d, RST | (ACK_FLAG if ack else 0), self.t, kind=tp.TCP_PLAIN)

    def end(self) -> None:
        """Some usual end: mostly FIN, sometimes RST, sometimes none."""
        draw = self.rng.random()
        if draw < 0.86:
            self.close(CLIENT if draw < 0.6 else SERVER)
        elif draw < 0.94:
            self.reset(CLIENT if draw < 0.91 else SERVER)


class Udp:
    """A UDP exchange on one pair of ports."""

    def __init__(self, ctx: Context, client: Host, server: Host, dport: int, t: int, *, version: int = 4, sport: int | None = None) -> None:
        self.ctx, self.rng, self.hosts, self.t = ctx, ctx.rng, (client, server), t
        self.sport = client.port(ctx.rng) if sport is None else sport
        self.flow = ctx.flow(client, server, self.sport, dport, 17, version)
        self.ident = ctx.rng.getrandbits(16)

    def send(self, d: int, span: Span, number: int = 0) -> Udp:
        """One datagram; ``number`` replaces its first two bytes when not 0 (a DNS id)."""
        self.ident = (self.ident + 1) & 0xFFFF
        off, length = span
        self.ctx.buffer.extend(
            (self.t, self.flow, d, tp.UDP_KIND, 0, 0, 0, 0, self.ident, off, length, 0, 0, 0x10000 | number if number else 0, 0)
        )
        return self

    def wait(self, ns: float) -> Udp:
        """Let time pass."""
        self.t += int(ns)
        return self

    def reply(self, d: int, span: Span, think: float = 0, number: int = 0) -> Udp:
        """Side ``d`` answers after a round trip and ``think`` ns."""
        return self.wait(self.hosts[d].delay(self.rng) + think).send(d, span, number)

    def unreachable(self, flow: int, t: int, span: Span) -> None:
        """ICMP port unreachable from the server about the datagram ``span``; ``flow``: the ICMP flow (server -> client)."""
        self.ctx.buffer.extend((t, flow, 0, tp.ICMP_ERROR, (3 << 8) | 3, 0, 0, 0, self.ident, span[0], 28, 0, 0, self.flow, span[1]))


def ping(ctx: Context, client: Host, server: Host, t: int, count: int, version: int = 4, interval: int = 1_000 * MS) -> int:
    """Echo requests and replies (RFC 792, 4443); returns the time after the last."""
    rng = ctx.rng
    flow = ctx.flow(client, server, 0, 0, 1 if version == 4 else 58, version)
    request, answer = (8, 0) if version == 4 else (128, 129)
    ident, size = rng.getrandbits(16), rng.choice((32, 56, 56, 64, 1400))
    off = ctx.pool.noise(rng, size)[0]
    for i in range(count):
        ctx.buffer.extend((t, flow, 0, tp.ICMP_ECHO, request << 8, 0, 0, 0, rng.getrandbits(16), off, size, 0, 0, ident, i + 1))
        if rng.random() > 0.02:
            back = t + server.delay(rng)
            ctx.buffer.extend((back, flow, 1, tp.ICMP_ECHO, answer << 8, 0, 0, 0, rng.getrandbits(16), off, size, 0, 0, ident, i + 1))
        t += interval + rng.randrange(MS)
    return t
