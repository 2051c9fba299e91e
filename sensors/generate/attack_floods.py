"""Floods. One-packet floods are made by array operations: a million packets in a second or two."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sensors.generate import table as tb
from sensors.generate import templates as tp
from sensors.generate.attack_scans import tool
from sensors.generate.benign_web import S, tls_handshake
from sensors.generate.conversation import CLIENT, SERVER, SYN, Context, Tcp
from sensors.generate.hosts import MS, Host

_CHUNK = 8192


def _sources(draw: np.random.Generator, n: int) -> np.ndarray:
    """Forged source addresses, uint64[n], from the blocks every outside host comes from."""
    wide = np.uint64(0xC6120000) + draw.integers(1, (1 << 17) - 1, n, np.uint64)
    small = draw.choice(np.array([0xCB007100, 0xC6336400, 0xC0000200], np.uint64), n) + draw.integers(1, 255, n, np.uint64)
    return np.where(draw.random(n) < 0.9, wide, small)


def _one_packet_flows(
    ctx: Context,
    draw: np.random.Generator,
    ts: np.ndarray,
    src: np.ndarray,
    ports: np.ndarray,
    dport: np.ndarray,
    target: Host,
    protocol: int,
) -> np.ndarray:
    """A packet matrix (TS, FLOW, DIR and IPID set) with a new flow for every packet."""
    n = len(ts)
    router = ctx.world.sites[0].mac
    flows = ctx.flows.reserve(n)
    flows["src_lo"], flows["dst_lo"] = src, target.ip4
    flows["src_mac"], flows["dst_mac"] = router, target.mac
    flows["src_port"], flows["dst_port"] = ports, dport
    flows["vlan"], flows["version"], flows["protocol"] = target.vlan, 4, protocol
    flows["ttl_bwd"], flows["pad"], flows["label"] = target.ttl, 1, ctx.label_index
    rows = np.zeros((n, tb.WIDTH), np.int64)
    rows[:, tb.TS] = ts
    rows[:, tb.FLOW] = np.arange(ctx.flows.size - n, ctx.flows.size)
    rows[:, tb.IPID] = draw.integers(0, 65536, n)
    return rows


def syn_flood(ctx: Context, t: int, packets: int, span: int) -> Iterator[int]:
    """SYNs from forged sources to one port; with the backlog full only some are answered (SYN-ACKs that nobody takes up)."""
    rng, world = ctx.rng, ctx.world
    draw = np.random.default_rng(rng.getrandbits(63))
    target, dport = rng.choice(world.servers), rng.choice((80, 443, 22, 25, 8080))
    kind = rng.choice((tp.TCP_PLAIN, tp.TCP_MSS, tp.TCP_SYN_LINUX, tp.TCP_SYN_WINDOWS))
    windows = rng.choice(((64240,), (65535, 8192, 64240), (512, 1024, 2048, 4096), (29200,)))
    ttl = rng.randint(40, 240)
    few = rng.random() < 0.3  # no forging: a handful of bots, many ports each
    bots = _sources(draw, rng.randint(3, 60))
    answered = rng.choice((0.0, 0.02, 0.3))
    rate = max(packets * S / max(span, 1), 1.0)
    made = 0
    while made < packets:
        n = min(_CHUNK, packets - made, max(1, int(rate / 20)))
        gaps = draw.exponential(S / rate, n)
        ts = t + np.cumsum(gaps).astype(np.int64)
        src = draw.choice(bots, n) if few else _sources(draw, n)
        flows_ports = draw.integers(1024, 65536, n)
        rows = _one_packet_flows(ctx, draw, ts, src, flows_ports, np.full(n, dport), target, 6)
        ctx.flows.rows["ttl_fwd"][ctx.flows.size - n : ctx.flows.size] = ttl + draw.integers(-15, 15, n)
        rows[:, tb.KIND], rows[:, tb.FLAGS] = kind, SYN
        rows[:, tb.SEQ] = draw.integers(0, 1 << 32, n)
        rows[:, tb.WIN] = draw.choice(windows, n)
        rows[:, tb.A], rows[:, tb.B] = 1460, 7
        rows[:, tb.TSVAL] = draw.integers(0, 1 << 32, n)
        ctx.chunks.append(rows)
        back = rows[draw.random(n) < answered].copy()
        if len(back):
            back[:, tb.TS] += (target.rtt + draw.exponential(60_000, len(back))).astype(np.int64)
            back[:, tb.DIR], back[:, tb.KIND], back[:, tb.FLAGS] = 1, tp.TCP_MSS, SYN | 16
            back[:, tb.ACK] = (back[:, tb.SEQ] + 1) & 0xFFFFFFFF
            back[:, tb.SEQ] = draw.integers(0, 1 << 32, len(back))
            back[:, tb.WIN], back[:, tb.IPID] = target.window, 0
            ctx.chunks.append(back)
        made += n + len(back)
        t = int(ts[-1])
        yield t


def udp_flood(ctx: Context, t: int, packets: int, span: int) -> Iterator[int]:
    """Datagrams from a few sources to random or fixed ports of one host: one-packet flows, or long one-sided ones."""
    rng, world, pool = ctx.rng, ctx.world, ctx.pool
    draw = np.random.default_rng(rng.getrandbits(63))
    target = rng.choice(world.servers)
    fixed = rng.choice((0, 0, 53, 80, 443, 27015))
    forged = rng.random() < 0.6
    bots = _sources(draw, rng.randint(1, 30))
    sizes = rng.choice(((0, 1), (18, 64), (500, 600), (1000, 1473), (1, 1473)))
    ttl = rng.randint(40, 240)
    rate = max(packets * S / max(span, 1), 1.0)
    held = 0 if forged or rng.random() < 0.3 else len(bots)  # flows that are kept for the whole flood
    if held:
        _one_packet_flows(
            ctx, draw, np.zeros(held, np.int64), bots, draw.integers(1024, 65536, held), np.full(held, fixed or 80), target, 17
        )
        first = ctx.flows.size - held
        ctx.flows.rows["ttl_fwd"][first:] = ttl
    made = 0
    while made < packets:
        n = min(_CHUNK, packets - made, max(1, int(rate / 20)))
        ts = t + np.cumsum(draw.exponential(S / rate, n)).astype(np.int64)
        if held:
            rows = np.zeros((n, tb.WIDTH), np.int64)
            rows[:, tb.TS], rows[:, tb.FLOW] = ts, first + draw.integers(0, held, n)
            rows[:, tb.IPID] = draw.integers(0, 65536, n)
        else:
            src = _sources(draw, n) if forged else draw.choice(bots, n)
            dport = np.full(n, fixed) if fixed else draw.integers(1, 65536, n)
            rows = _one_packet_flows(ctx, draw, ts, src, draw.integers(1024, 65536, n), dport, target, 17)
            ctx.flows.rows["ttl_fwd"][ctx.flows.size - n : ctx.flows.size] = ttl + draw.integers(-15, 15, n)
        rows[:, tb.KIND] = tp.UDP_KIND
        rows[:, tb.LEN] = draw.integers(*sizes, n)
        rows[:, tb.OFF] = pool.noise(rng, 0)[0]
        ctx.chunks.append(rows)
        made += n
        t = int(ts[-1])
        yield t


def http_flood(ctx: Context, t: int, packets: int, span: int) -> Iterator[int]:
    """Requests at a high rate from a few bots: a new connection each, or many requests on one."""
    rng, world, pool = ctx.rng, ctx.world, ctx.pool
    server, dport = rng.choice(world.servers[1:]), rng.choice((80, 80, 443, 8080))
    bots = [tool(ctx, world.attacker(rng)) if rng.random() < 0.2 else world.attacker(rng) for _ in range(rng.randint(2, 25))]
    per_connection = rng.choice((1, 1, 3, 12, 40))
    count = max(4, int(packets / (7 + 2.6 * per_connection)))
    gap = min(span / count, S / rng.choice((20, 100, 500)))
    page = rng.choice(pool.requests)
    slow = rng.uniform(1, 300) * MS  # the server suffers
    for _ in range(count):
        tcp = Tcp(ctx, rng.choice([b for b in bots if b.ip4 != server.ip4]), server, dport, t, loss=0.0).connect()
        if dport == 443:
            tls_handshake(tcp)
        for _ in range(rng.randint(1, per_connection) if per_connection > 1 else 1):
            tcp.wait(rng.uniform(0.05, 20) * MS).send(CLIENT, page if rng.random() < 0.7 else rng.choice(pool.requests))
            if rng.random() < 0.9:
                tcp.reply(SERVER, rng.choice(pool.responses[:6] + pool.refusals), rng.expovariate(1 / slow))
        tcp.wait(rng.uniform(0.1, 5) * MS)
        draw = rng.random()
        tcp.reset() if draw < 0.3 else tcp.close() if draw < 0.9 else None
        t += int(rng.expovariate(1 / gap))
        yield t


def slowloris(ctx: Context, t: int, packets: int, span: int) -> Iterator[int]:
    """Connections held open by a header line every few seconds (or a body byte by byte), until the server gives up."""
    rng, world, pool = ctx.rng, ctx.world, ctx.pool
    attacker, server, dport = world.attacker(rng), rng.choice(world.servers[1:]), rng.choice((80, 80, 443, 8080))
    if attacker.ip4 == server.ip4:
        return
    every = rng.uniform(0.8, 10) * S
    drops = max(2, min(30, int(span / every)))
    count = max(3, int(packets / (5 + 2 * drops)))
    gap = min(span * 0.3 / count, S / rng.choice((5, 50, 200)))
    tail = rng.randint(1, 40)
    for _ in range(count):
        tcp = Tcp(ctx, attacker, server, dport, t, loss=0.0).connect()
        off, length = rng.choice(pool.requests)
        tcp.wait(rng.uniform(0.1, 10) * MS).send(CLIENT, (off, min(length, rng.randint(20, 220))))
        for _ in range(drops):
            tcp.wait(every * rng.uniform(0.7, 1.3)).send(CLIENT, pool.noise(rng, max(1, int(tail * rng.uniform(0.6, 1.4)))))
        tcp.wait(rng.uniform(0.2, 3) * S)
        draw = rng.random()
        tcp.close(SERVER) if draw < 0.5 else tcp.reset(SERVER) if draw < 0.7 else None
        t += int(rng.expovariate(1 / gap))
        yield t
