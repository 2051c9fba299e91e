"""Port scans. The tool (stack, rate, order of ports, retries) is drawn per instance; parameters overlap with benign clients'."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sensors.generate.benign_web import S
from sensors.generate.conversation import CLIENT, SERVER, Context, Tcp, Udp
from sensors.generate.hosts import BARE, MS, OLD, Host

COMMON_TCP = (21, 22, 23, 25, 53, 80, 110, 111, 135, 139, 143, 443, 445, 993, 995, 1723, 3306, 3389, 5432, 5900, 6379, 8080, 8443, 9100)
_COMMON_UDP = (53, 67, 69, 123, 137, 138, 161, 162, 500, 514, 520, 1434, 1900, 4500, 5353)


def tool(ctx: Context, host: Host) -> Host:
    """The scanning host, with its own stack or with that of a raw-socket tool."""
    rng = ctx.rng
    stack = rng.choice((host.stack, host.stack, OLD, BARE))
    if stack is host.stack:
        return host
    ttl = max(20, rng.randint(37, 64) if stack is OLD else stack.ttl - rng.randint(0, 24))
    return replace(host, stack=stack, window=rng.choice(stack.windows), ttl=ttl)


def _ports(ctx: Context, n: int, common: tuple[int, ...]) -> list[int]:
    rng = ctx.rng
    style = rng.random()
    if style < 0.3:
        first = rng.choice((1, 1, 1000, 8000, rng.randrange(1, 60000)))
        return [first + i % (65535 - first) for i in range(n)]
    if style < 0.6:
        return [*rng.sample(common, min(n, len(common))), *(rng.randrange(1, 65536) for _ in range(n - len(common)))]
    return rng.sample(range(1, 65536), min(n, 60000))


def _targets(ctx: Context, n: int) -> list[tuple[Host, int]]:
    """Address and port of every probe: many ports of a few hosts, or one port of everybody."""
    rng, world = ctx.rng, ctx.world
    pool = world.servers + world.clients[: len(world.clients) // 2]
    if rng.random() < 0.7:
        some = rng.sample(pool, rng.randint(1, min(4, len(pool))))
        ports = _ports(ctx, -(-n // len(some)), COMMON_TCP)
        return [(h, p) for h in some for p in ports][:n]
    ports = rng.sample(COMMON_TCP, min(len(COMMON_TCP), -(-n // len(pool))))
    probes = [(h, p) for p in ports for h in pool]
    rng.shuffle(probes)
    return probes[:n]


def _probe(
    ctx: Context, scanner: Host, target: Host, port: int, t: int, sport: int | None, full: bool, filtered: float, retry: bool
) -> None:
    rng = ctx.rng
    tcp = Tcp(ctx, scanner, target, port, t, sport=sport, loss=0.0, syn=scanner.stack.syn, window=scanner.window)
    draw = (hash((target.ip4, port)) % 1000) / 1000  # the same port answers the same way whenever it is asked
    if draw < filtered:
        tcp.syn_only(2 if retry else 1, 1_000 * MS if full else 900 * MS)
    elif draw < filtered + 0.08 or (port in COMMON_TCP and draw > 0.8):
        if full:
            tcp.connect()
            if rng.random() < 0.3:
                tcp.wait(rng.uniform(1, 80) * MS).send(SERVER, ctx.pool.noise(rng, rng.randint(12, 90))).wait(tcp.hosts[CLIENT].delay(rng))
            tcp.reset() if rng.random() < 0.6 else tcp.close()
        else:
            tcp.syn_ack()
            if rng.random() < 0.9:
                tcp.wait(scanner.delay(rng)).reset(ack=False)
    else:
        tcp.refuse()


def tcp_scan(ctx: Context, t: int, packets: int, full: bool, gap: float) -> Iterator[int]:
    """About as many packets, half-open or by full connections, ``gap`` ns give or take a half between probes."""
    rng = ctx.rng
    scanner = ctx.world.attacker(rng)
    if not full:
        scanner = tool(ctx, scanner)
    filtered, retry = rng.choice((0.0, 0.2, 0.9)), rng.random() < 0.6
    sport = scanner.port(rng) if not full and rng.random() < 0.5 else None
    for target, port in _targets(ctx, max(6, int(packets / 2.1))):
        if target.ip4 == scanner.ip4:
            continue
        _probe(ctx, scanner, target, port, t, sport, full, filtered, retry)
        t += int(gap * rng.uniform(0.5, 1.5))
        yield t


def syn_scan(ctx: Context, t: int, packets: int, span: int) -> Iterator[int]:
    """Half-open scan; from one source port or many; 20 to some thousand probes a second."""
    return tcp_scan(ctx, t, packets, False, min(span / max(1, packets / 2.1), S / ctx.rng.choice((20, 80, 300, 1000, 3000))))


def connect_scan(ctx: Context, t: int, packets: int, span: int) -> Iterator[int]:
    """Scan by full connections through the host's own stack."""
    return tcp_scan(ctx, t, packets, True, min(span / max(1, packets / 2.1), S / ctx.rng.choice((10, 40, 150, 600))))


def slow_scan(ctx: Context, t: int, packets: int, span: int) -> Iterator[int]:
    """Scan with long pauses: below the rate at which a detector by count wakes."""
    n = max(6, min(packets // 2, int(span / (0.25 * S))))
    return tcp_scan(ctx, t, n * 2, ctx.rng.random() < 0.3, span / n)


def udp_scan(ctx: Context, t: int, packets: int, span: int) -> Iterator[int]:
    """UDP scan: closed ports answer with ICMP port unreachable, which hosts send at a limited rate (RFC 1122, 4443)."""
    rng, world, pool = ctx.rng, ctx.world, ctx.pool
    scanner = tool(ctx, world.attacker(rng))
    targets = [h for h in rng.sample(world.servers + world.clients, rng.randint(1, 3)) if h.ip4 != scanner.ip4] or [world.servers[0]]
    errors = {h.ip4: ctx.flow(h, scanner, 0, 0, 1) for h in targets if world.claim_icmp(h, scanner, ctx.label_index)}
    last_error = dict.fromkeys(errors, 0)
    limit = rng.choice((S, S // 10, 0))
    empty, sport = rng.random() < 0.6, scanner.port(rng) if rng.random() < 0.5 else None
    gap = min(span / max(1, packets / 1.5), S / rng.choice((10, 50, 200, 1000)))
    for port in _ports(ctx, max(6, int(packets / 1.5 / len(targets))), _COMMON_UDP):
        for target in targets:
            udp = Udp(ctx, scanner, target, port, t, sport=sport)
            span_ = (0, 0) if empty and port not in _COMMON_UDP else pool.noise(rng, rng.choice((8, 40, 60, 120)))
            udp.send(CLIENT, span_)
            back = t + target.delay(rng)
            if rng.random() < 0.03:
                udp.reply(SERVER, pool.noise(rng, rng.randint(20, 300)))
            elif target.ip4 in errors and back - last_error[target.ip4] >= limit:
                udp.unreachable(errors[target.ip4], back, span_)
                last_error[target.ip4] = back
            t += int(gap * rng.uniform(0.5, 1.5))
            yield t
